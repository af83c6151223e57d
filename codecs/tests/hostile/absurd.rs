//! Streams that no encoder writes: headers that claim what cannot be, and streams that never come to their audio.
//!
//! Not here: damaged but honest files, and what must become of all these (`hostile.rs`).

use codecs::Codec;

/// A hostile stream: what it does, how it is announced, and its bytes.
pub(crate) type Case = (&'static str, Codec, Vec<u8>);

pub(crate) fn cases() -> Vec<Case> {
    [wav(), aiff(), flac(), ogg(), webm(), mp4(), mpeg()].concat()
}

fn wav() -> Vec<Case> {
    let format = |channels: u16, rate: u32, align: u16, bits: u16| {
        let numbers = [
            &1u16.to_le_bytes()[..],
            &channels.to_le_bytes(),
            &rate.to_le_bytes(),
            &rate.to_le_bytes(),
            &align.to_le_bytes(),
            &bits.to_le_bytes(),
        ];
        [
            b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0".to_vec(),
            numbers.concat(),
            b"data\xff\xff\xff\xff".to_vec(),
        ]
        .concat()
    };
    let with_audio = |header: Vec<u8>| [header, vec![1; 100_000]].concat();
    vec![
        ("WAV of 65,535 channels", Codec::Wav, with_audio(format(65_535, 16_000, 65_535, 16))),
        ("WAV of no channel", Codec::Wav, with_audio(format(0, 16_000, 0, 16))),
        ("WAV at 0 Hz", Codec::Wav, with_audio(format(1, 0, 2, 16))),
        ("WAV at 2^32 - 1 Hz", Codec::Wav, with_audio(format(1, u32::MAX, 2, 16))),
        ("WAV of 65,535 bits", Codec::Wav, with_audio(format(1, 16_000, 2, 65_535))),
        (
            "WAV with a format of 4 GiB",
            Codec::Wav,
            [b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff".to_vec(), vec![1; 100_000]].concat(),
        ),
        (
            "WAV with a list of 4 GiB",
            Codec::Wav,
            [b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\xff".to_vec(), vec![1; 100_000]].concat(),
        ),
        (
            "WAV with nothing but empty chunks",
            Codec::Wav,
            [b"RIFF\0\0\0\0WAVE".to_vec(), b"JUNK\0\0\0\0".repeat(1 << 18)].concat(),
        ),
    ]
}

fn aiff() -> Vec<Case> {
    let common = |channels: u16, frames: u32, bits: u16, rate: [u8; 10]| {
        let numbers =
            [&channels.to_be_bytes()[..], &frames.to_be_bytes(), &bits.to_be_bytes(), &rate].concat();
        let audio = [b"SSND\xff\xff\xff\xff\0\0\0\0\0\0\0\0".to_vec(), vec![1; 100_000]].concat();
        [b"FORM\xff\xff\xff\xffAIFFCOMM\0\0\0\x12".to_vec(), numbers, audio].concat()
    };
    let at_48_khz = [0x40, 0x0e, 0xbb, 0x80, 0, 0, 0, 0, 0, 0];
    let markers =
        [b"FORM\xff\xff\xff\xffAIFFMARK\xff\xff\xff\xff\xff\xff".to_vec(), vec![1; 1 << 20]].concat();
    vec![
        ("AIFF of 65,535 channels", Codec::Auto, common(65_535, u32::MAX, 16, at_48_khz)),
        (
            "AIFF at an infinite rate",
            Codec::Auto,
            common(1, u32::MAX, 16, [0x7f, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ),
        ("AIFF of 65,535 bits", Codec::Auto, common(1, u32::MAX, 65_535, at_48_khz)),
        ("AIFF with 65,535 markers", Codec::Auto, markers),
    ]
}

fn flac() -> Vec<Case> {
    let stream_info = |rate: u32, bits: u32| {
        // Blocks of 65,535; 20 bits of rate, 3 of channels, 5 of bits, 36 of length.
        let numbers = rate << 12 | 7 << 9 | (bits - 1) << 4 | 15;
        [
            b"fLaC\x80\0\0\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            numbers.to_be_bytes().to_vec(),
            vec![0xff; 20],
        ]
        .concat()
    };
    let endless = [&b"fLaC\0\0\0\x22"[..], &[0; 34], &b"\x01\0\0\0".repeat(1 << 19)].concat();
    let large = [
        &b"fLaC\0\0\0\x22"[..],
        &[0; 34],
        &[b"\x01\xff\xff\xff".to_vec(), vec![0; 0xff_ffff]].concat().repeat(3),
    ]
    .concat();
    vec![
        ("FLAC at 0 Hz", Codec::Flac, [stream_info(0, 16), vec![0xff; 100_000]].concat()),
        ("FLAC at 1 MHz of 32 bits", Codec::Flac, [stream_info(0xf_ffff, 32), vec![0xff; 100_000]].concat()),
        (
            "FLAC of nothing but sync codes",
            Codec::Flac,
            [stream_info(16_000, 16), b"\xff\xf8\xc9\x0e".repeat(1 << 19)].concat(),
        ),
        ("FLAC with empty metadata for ever", Codec::Flac, endless),
        ("FLAC with 48 MiB of padding", Codec::Flac, large),
    ]
}

/// A page of Ogg with its checksum.
pub(crate) fn ogg_page(flags: u8, serial: u32, sequence: u32, packets: &[&[u8]]) -> Vec<u8> {
    let mut lacing = Vec::new();
    for packet in packets {
        lacing.extend(std::iter::repeat_n(255, packet.len() / 255));
        lacing.push((packet.len() % 255) as u8);
    }
    raw_ogg_page(flags, serial, sequence, &lacing, &packets.concat())
}

fn raw_ogg_page(flags: u8, serial: u32, sequence: u32, lacing: &[u8], payload: &[u8]) -> Vec<u8> {
    let numbers = [serial.to_le_bytes(), sequence.to_le_bytes(), [0; 4]].concat();
    // A time far ahead: no audio is taken for padding.
    let time = (1u64 << 40).to_le_bytes();
    let start = [&b"OggS\0"[..], &[flags], &time, &numbers, &[lacing.len() as u8], lacing];
    let mut page = [&start.concat()[..], payload].concat();
    let checksum = page.iter().fold(0u32, |checksum, byte| {
        (0..8).fold(checksum ^ u32::from(*byte) << 24, |checksum, _| {
            checksum << 1 ^ if checksum >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    });
    page[22..26].copy_from_slice(&checksum.to_le_bytes());
    page
}

fn opus_head(channels: u8, mapping: u8) -> Vec<u8> {
    [b"OpusHead\x01", &[channels][..], &[0x38, 1, 0x80, 0xbb, 0, 0, 0, 0, mapping]].concat()
}

fn ogg() -> Vec<Case> {
    let opus = |channels, mapping| {
        let audio = (0..1_000).flat_map(|n| ogg_page(0, 1, 2 + n, &[&[0xfc, 0xff, 0xfe]]));
        let tags = b"OpusTags\0\0\0\0\0\0\0\0";
        let head = [ogg_page(2, 1, 0, &[&opus_head(channels, mapping)]), ogg_page(0, 1, 1, &[tags])];
        head.concat().into_iter().chain(audio).collect()
    };
    let comments = |count: usize, comment: &[u8]| {
        let entry = [&(comment.len() as u32).to_le_bytes(), comment].concat();
        let tags = [&b"OpusTags\0\0\0\0"[..], &u32::MAX.to_le_bytes(), &entry.repeat(count)].concat();
        // Full pages, each a part of one packet.
        let pages = tags.chunks(255 * 255).enumerate().flat_map(|(n, part)| {
            raw_ogg_page(
                u8::from(n > 0),
                1,
                1 + n as u32,
                &vec![255; part.len() / 255],
                &part[..part.len() / 255 * 255],
            )
        });
        ogg_page(2, 1, 0, &[&opus_head(1, 0)]).into_iter().chain(pages).collect()
    };
    let streams = (0..30_000).flat_map(|n| ogg_page(2, n, 0, &[&opus_head(1, 0)])).collect();
    let chain = |links: u32, title: usize| -> Vec<u8> {
        let comment = [b"A=".to_vec(), vec![b'x'; title]].concat();
        let tags =
            [&b"OpusTags\0\0\0\0\x01\0\0\0"[..], &(comment.len() as u32).to_le_bytes(), &comment].concat();
        let link = |n| {
            [
                ogg_page(2, n, 0, &[&opus_head(1, 0)]),
                ogg_page(0, n, 1, &[&tags]),
                ogg_page(4, n, 2, &[&[0xfc, 0xff, 0xfe]]),
            ]
        };
        (0..links).flat_map(|n| link(n).concat()).collect()
    };
    vec![
        ("Ogg Opus of 255 channels", Codec::Ogg, opus(255, 1)),
        ("Ogg Opus of no channel", Codec::Ogg, opus(0, 0)),
        ("Ogg with comments for ever", Codec::Ogg, comments(400_000, b"=")),
        ("Ogg with one comment for ever", Codec::Ogg, comments(4, &vec![b'='; 1 << 20])),
        ("Ogg of 30,000 streams at once", Codec::Ogg, streams),
        ("Ogg of 500 links with titles of 60,000 bytes", Codec::Ogg, chain(500, 60_000)),
        ("Ogg Vorbis with 256 codebooks of 8 MiB", Codec::Ogg, vorbis_bomb(256)),
        ("Ogg Vorbis with one of them", Codec::Ogg, vorbis_bomb(1)),
    ]
}

/// Codebooks of 131,072 entries in 16 dimensions, 8 MiB of numbers from 22 bytes each.
fn vorbis_bomb(codebooks: u32) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(8, codebooks - 1);
    for _ in 0..codebooks {
        bits.put(24, 0x56_4342);
        bits.put(16, 16);
        bits.put(24, 131_072);
        // Ordered by length: all of 17 bits, a complete tree.
        bits.put(1, 1);
        bits.put(5, 17 - 1);
        bits.put(18, 131_072);
        // Lookup of type 1: the 16th root of 131,072 makes two values, of one bit each.
        bits.put(4, 1);
        bits.put(32, 0);
        bits.put(32, 0);
        bits.put(4, 0);
        bits.put(1, 0);
        bits.put(2, 0);
    }
    let identification = b"\x01vorbis\0\0\0\0\x01\x80\x3e\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xb8\x01";
    let comments = b"\x03vorbis\0\0\0\0\0\0\0\0\x01";
    let setup = [b"\x05vorbis".to_vec(), bits.bytes, vec![0; 100]].concat();
    [
        ogg_page(2, 1, 0, &[identification]),
        ogg_page(0, 1, 1, &[comments, &setup]),
        ogg_page(0, 1, 2, &[&[0; 100]]),
    ]
    .concat()
}

/// Bits as Vorbis packs them: the lowest first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn put(&mut self, bits: usize, value: u32) {
        for n in 0..bits {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().expect("one was pushed");
            *last |= ((value >> n & 1) as u8) << (self.count % 8);
            self.count += 1;
        }
    }
}

fn webm() -> Vec<Case> {
    let unknown = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let largest = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe];
    let element = |id: &[u8], body: &[u8]| {
        let size = (body.len() as u32 | 0x1000_0000).to_be_bytes();
        [id, &size, body].concat()
    };
    let ebml = element(b"\x1a\x45\xdf\xa3", b"\x42\x82\x84webm");
    let segment = [&b"\x18\x53\x80\x67"[..], &unknown].concat();
    let track = |channels: &[u8], rate: f64, private: &[u8]| {
        let audio = [element(b"\xb5", &rate.to_be_bytes()), element(b"\x9f", channels)].concat();
        let entry = [
            b"\xd7\x81\x01\x73\xc5\x81\x01\x83\x81\x02\x86\x86A_OPUS".to_vec(),
            element(b"\x63\xa2", private),
            element(b"\xe1", &audio),
        ];
        element(b"\xae", &entry.concat())
    };
    let information = element(b"\x15\x49\xa9\x66", b"\x2a\xd7\xb1\x83\x0f\x42\x40\x4d\x80\x81A\x57\x41\x81A");
    let header =
        |tracks: &[u8]| [&ebml[..], &segment, &information, &element(b"\x16\x54\xae\x6b", tracks)].concat();
    let sound = header(&track(&[1], 48_000.0, &opus_head(1, 0)));
    let cluster = [&b"\x1f\x43\xb6\x75"[..], &unknown, b"\xe7\x81\x00"].concat();
    let block = |flags: u8, body: &[u8]| element(b"\xa3", &[&[0x81, 0, 0, flags], body].concat());
    let live = |blocks: Vec<u8>| [&sound[..], &cluster, &blocks].concat();
    let packet = block(0x80, &[0xfc, 0xff, 0xfe]);
    let huge = |id: &[u8]| [&ebml[..], &segment, id, &largest, &[0; 100_000]].concat();
    vec![
        (
            "WebM of 2^63 channels",
            Codec::WebM,
            [
                header(&track(&[0x80, 0, 0, 0, 0, 0, 0, 0], 48e3, &opus_head(1, 0))),
                cluster.clone(),
                packet.repeat(100),
            ]
            .concat(),
        ),
        (
            "WebM at 1e300 Hz",
            Codec::WebM,
            [header(&track(&[1], 1e300, &opus_head(1, 0))), cluster.clone(), packet.repeat(100)].concat(),
        ),
        (
            "WebM at no number of Hz",
            Codec::WebM,
            [header(&track(&[1], f64::NAN, &opus_head(1, 0))), cluster.clone(), packet.repeat(100)].concat(),
        ),
        ("WebM with tracks of 2^56 bytes", Codec::WebM, huge(b"\x16\x54\xae\x6b")),
        (
            "WebM with a cluster of 2^56 bytes",
            Codec::WebM,
            [&sound[..], b"\x1f\x43\xb6\x75", &largest, b"\xe7\x81\x00", &packet.repeat(1_000)].concat(),
        ),
        ("WebM with an unknown element of 2^56 bytes", Codec::WebM, huge(b"\x42\x42")),
        (
            "WebM with a block of 2^56 bytes",
            Codec::WebM,
            live([&b"\xa3"[..], &largest, &[1; 2 << 20]].concat()),
        ),
        (
            "WebM with 20,000 tracks",
            Codec::WebM,
            [
                header(&track(&[1], 48e3, &opus_head(1, 0)).repeat(20_000)),
                cluster.clone(),
                packet.repeat(100),
            ]
            .concat(),
        ),
        (
            "WebM with padding for ever",
            Codec::WebM,
            [&ebml[..], &segment, &b"\xec\x80".repeat(1 << 20)].concat(),
        ),
        ("WebM with clusters for ever", Codec::WebM, [sound.clone(), cluster.repeat(1 << 17)].concat()),
        (
            "WebM with titles between the clusters",
            Codec::WebM,
            [
                sound.clone(),
                [&cluster[..], &packet, &element(b"\x12\x54\xc3\x67", &vec![0; 60_000])].concat().repeat(300),
            ]
            .concat(),
        ),
        ("WebM within WebM, 100,000 deep", Codec::WebM, [ebml.clone(), segment.repeat(100_000)].concat()),
        (
            "WebM with 256 laced frames that are not there",
            Codec::WebM,
            live(block(0x82, &[0xff; 300]).repeat(1_000)),
        ),
        (
            "WebM with laced frames of 2^56 bytes",
            Codec::WebM,
            live(block(0x86, &[&[0xff][..], &largest, &[0; 50]].concat()).repeat(1_000)),
        ),
        ("WebM of 120 ms in every two bytes", Codec::WebM, live(block(0x80, &[0xfb, 6]).repeat(20_000))),
        ("WebM with 256 empty frames in each block", Codec::WebM, live(block(0x84, &[0xff]).repeat(20_000))),
    ]
}

fn atom(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
}

/// An MP4 index of one track, with its sample table and what stands behind the track.
fn moov(channels: u16, timescale: u32, tables: &[Vec<u8>], behind: &[u8]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let entry =
        [words(&[0, 1, 0, 0]), channels.to_be_bytes().to_vec(), vec![0, 16], words(&[0, 16_000 << 16])]
            .concat();
    let config = b"\0\0\0\0\x03\x19\0\0\0\x04\x11\x40\x15\0\0\0\0\0\0\0\0\0\0\0\x05\x02\x14\x08\x06\x01\x02";
    let description = [words(&[0, 1]), atom(b"mp4a", &[entry, atom(b"esds", config)].concat())].concat();
    let table = [&[atom(b"stsd", &description)], tables].concat().concat();
    let information = [atom(b"smhd", &[0; 8]), atom(b"stbl", &table)].concat();
    let handler = [words(&[0, 0]), b"soun".to_vec(), vec![0; 13]].concat();
    let media = [
        atom(b"mdhd", &words(&[0, 0, 0, timescale, 0, 0])),
        atom(b"hdlr", &handler),
        atom(b"minf", &information),
    ];
    let head = [words(&[7, 0, 0, 1]), vec![0; 68]].concat();
    let track = [atom(b"tkhd", &head), atom(b"mdia", &media.concat())].concat();
    let movie = [words(&[0, 0, 0, timescale, 0]), vec![0; 80]].concat();
    [
        atom(b"ftyp", b"isom\0\0\0\0isom"),
        atom(b"moov", &[atom(b"mvhd", &movie), atom(b"trak", &track), behind.to_vec()].concat()),
    ]
    .concat()
}

fn mp4() -> Vec<Case> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let tables = |samples: u32, size: u32| {
        [
            atom(b"stts", &words(&[0, 1, samples, 1_024])),
            atom(b"stsc", &words(&[0, 1, 1, samples, 1])),
            atom(b"stsz", &words(&[0, size, samples])),
            atom(b"stco", &words(&[0, 1, 1_000])),
        ]
    };
    let empty = [
        atom(b"stts", &words(&[0, 0])),
        atom(b"stsc", &words(&[0, 0])),
        atom(b"stsz", &words(&[0, 0, 0])),
        atom(b"stco", &words(&[0, 0])),
    ];
    let live = |channels, timescale| {
        let extends = atom(b"mvex", &atom(b"trex", &words(&[0, 1, 1, 1_024, 10, 0])));
        moov(channels, timescale, &empty, &extends)
    };
    let fragment = |count: u32, flags: u32, sizes: &[u32], body: &[u8]| {
        let run = [words(&[flags, count]), words(sizes)].concat();
        let track = [atom(b"tfhd", &words(&[0x2_0000, 1])), atom(b"trun", &run)].concat();
        let head = [atom(b"mfhd", &words(&[0, 1])), atom(b"traf", &track)].concat();
        [atom(b"moof", &head), atom(b"mdat", body)].concat()
    };
    let mdat = |start: Vec<u8>| [start, atom(b"mdat", &[0x21; 100_000])].concat();
    let large =
        |kind: &[u8; 4], size: u64| [&[0, 0, 0, 1][..], kind, &size.to_be_bytes(), &[0; 100_000]].concat();
    let brand = atom(b"ftyp", b"isom\0\0\0\0isom");
    let nested =
        (0..20_000u32).rev().flat_map(|n| [&(n * 8 + 8).to_be_bytes()[..], b"moov"].concat()).collect();
    let many = |count: usize| {
        let track = atom(b"trak", &[]);
        [brand.clone(), atom(b"moov", &track.repeat(count)), atom(b"mdat", &[0; 100])].concat()
    };
    vec![
        ("MP4 with an atom of 2^63 bytes", Codec::Mp4, [brand.clone(), large(b"free", 1 << 63)].concat()),
        (
            "MP4 with an atom of 2^64 - 1 bytes",
            Codec::Mp4,
            [brand.clone(), large(b"moov", u64::MAX)].concat(),
        ),
        (
            "MP4 with samples of 2^63 bytes before the index",
            Codec::Mp4,
            [brand.clone(), large(b"mdat", 1 << 63)].concat(),
        ),
        (
            "MP4 with 40 MiB before its index",
            Codec::Mp4,
            [brand.clone(), atom(b"mdat", &vec![0; 40 << 20])].concat(),
        ),
        (
            "MP4 with an atom shorter than its head",
            Codec::Mp4,
            [brand.clone(), b"\0\0\0\x07free".repeat(1_000)].concat(),
        ),
        (
            "MP4 with empty atoms for ever",
            Codec::Mp4,
            [brand.clone(), b"\0\0\0\x08free".repeat(1 << 18)].concat(),
        ),
        ("MP4 nested 20,000 deep", Codec::Mp4, [brand.clone(), nested].concat()),
        ("MP4 with 900,000 empty tracks", Codec::Mp4, many(900_000)),
        ("MP4 of 65,535 channels", Codec::Mp4, mdat(moov(65_535, 16_000, &tables(100, 100), &[]))),
        ("MP4 with a second of no length", Codec::Mp4, mdat(moov(1, 0, &tables(100, 100), &[]))),
        ("MP4 of 2^32 - 1 empty samples", Codec::Mp4, mdat(moov(1, 16_000, &tables(u32::MAX, 0), &[]))),
        (
            "MP4 of 2^32 - 1 samples of 4 GiB",
            Codec::Mp4,
            mdat(moov(1, 16_000, &tables(u32::MAX, u32::MAX), &[])),
        ),
        (
            "MP4 with a table of 2^32 - 1 entries",
            Codec::Mp4,
            mdat(moov(1, 16_000, &[atom(b"stts", &words(&[0, u32::MAX]))], &[])),
        ),
        (
            "MP4 with a table of 7 MiB",
            Codec::Mp4,
            mdat(moov(
                1,
                16_000,
                &[atom(b"stts", &words(&[&[0, 900_000][..], &[1; 1_800_000]].concat()))],
                &[],
            )),
        ),
        (
            "fragment of 2^32 - 1 samples of no size",
            Codec::Mp4,
            [live(1, 16_000), fragment(u32::MAX, 0, &[], &[0x21; 100_000])].concat(),
        ),
        (
            "fragment with a sample of 4 GiB",
            Codec::Mp4,
            [live(1, 16_000), fragment(1, 0x200, &[u32::MAX], &[0x21; 100_000])].concat(),
        ),
        (
            "fragments with 20,000 empty samples each",
            Codec::Mp4,
            [live(1, 16_000), fragment(20_000, 0x200, &[0; 20_000], &[0x21; 10]).repeat(40)].concat(),
        ),
        (
            "fragments without samples for ever",
            Codec::Mp4,
            [live(1, 16_000), fragment(0, 0, &[], &[]).repeat(20_000)].concat(),
        ),
    ]
}

fn mpeg() -> Vec<Case> {
    let tag =
        |length: [u8; 4], body: usize| [b"ID3\x04\0\0".to_vec(), length.to_vec(), vec![0; body]].concat();
    let frame = |config: [u8; 2]| {
        let mut frame = vec![0xff, 0xf1, config[0], config[1], 0, 0, 0xfc];
        let length = 40;
        frame.resize(length, 0x21);
        frame[3] |= (length >> 11) as u8;
        frame[4] = (length >> 3) as u8;
        frame[5] = ((length & 7) << 5) as u8 | 0x1f;
        frame
    };
    vec![
        ("ID3 tag of 256 MiB", Codec::Mp3, tag([0x7f; 4], 100_000)),
        ("ID3 tags for ever", Codec::Mp3, tag([0, 0, 0, 0], 0).repeat(1 << 18)),
        ("MP3 of nothing but syncs", Codec::Mp3, vec![0xff; 2 << 20]),
        (
            "MP3 with a Xing header of 2^32 - 1 frames",
            Codec::Mp3,
            [
                b"\xff\xfb\x90\0".to_vec(),
                vec![0; 32],
                b"Xing\0\0\0\x0f".to_vec(),
                vec![0xff; 400],
                vec![0; 100_000],
            ]
            .concat(),
        ),
        ("AAC of nothing but syncs", Codec::Aac, b"\xff\xf1".repeat(1 << 20)),
        (
            "AAC that changes its rate with each frame",
            Codec::Aac,
            [frame([0x50, 0x40]), frame([0x60, 0x80])].concat().repeat(5_000),
        ),
        ("AAC at rates that cannot be used", Codec::Aac, frame([0x70, 0x40]).repeat(1_000)),
    ]
}
