//! A file that cannot be heard as it comes: its index lies behind its audio.

/// 16 kHz PCM in an MP4 file whose index comes last (ISO/IEC 14496-12), in samples of 10 ms.
pub(crate) fn mp4_index_last(pcm: &[u8]) -> Vec<u8> {
    let atom = |kind: &[u8; 4], parts: &[&[u8]]| {
        let body = parts.concat();
        [&(body.len() as u32 + 8).to_be_bytes()[..], kind, &body].concat()
    };
    let number = u32::to_be_bytes;
    let numbers = |list: &[u32]| list.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>();
    let count = (pcm.len() / 320) as u32;
    let duration = count * 160;
    let ftyp = atom(b"ftyp", &[b"isom", &number(0), b"isom"]);
    let offset = ftyp.len() as u32 + 8;

    // Reserved, reference index, version and vendor, channels, bits, reserved, rate as 16.16.
    let entry = [&[0u8; 6][..], &[0, 1], &[0; 8], &[0, 1, 0, 16], &[0; 4], &number(16_000 << 16)].concat();
    let table = atom(
        b"stbl",
        &[
            &atom(b"stsd", &[&numbers(&[0, 1]), &atom(b"sowt", &[&entry])]),
            &atom(b"stts", &[&numbers(&[0, 1, count, 160])]),
            &atom(b"stsc", &[&numbers(&[0, 1, 1, count, 1])]),
            &atom(b"stsz", &[&numbers(&[0, 320, count])]),
            &atom(b"stco", &[&numbers(&[0, 1, offset])]),
        ],
    );
    let media_information = atom(b"minf", &[&atom(b"smhd", &[&numbers(&[0, 0])]), &table]);
    let media = atom(
        b"mdia",
        &[
            &atom(b"mdhd", &[&numbers(&[0, 0, 0, 16_000, duration, 0x55c4_0000])]),
            &atom(b"hdlr", &[&numbers(&[0, 0]), b"soun", &[0; 13]]),
            &media_information,
        ],
    );
    // Times, track 1, reserved, duration, reserved, layer to volume, matrix, size.
    let track_header = [numbers(&[3, 0, 0, 1, 0, duration]), vec![0; 60]].concat();
    let track = atom(b"trak", &[&atom(b"tkhd", &[&track_header]), &media]);
    let movie_header = [numbers(&[0, 0, 0, 16_000, duration, 0x0001_0000]), vec![0; 76]].concat();
    let movie = atom(b"moov", &[&atom(b"mvhd", &[&movie_header]), &track]);
    [ftyp, atom(b"mdat", &[pcm]), movie].concat()
}
