//! After warm-up the listening path of PCM allocates nothing per chunk: counted by a global allocator, hence
//! a binary of its own.

#![allow(clippy::unwrap_used)] // A test may panic.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use codecs::{Codec, Framer, Resampler, StreamFormat, decoder_for, downmix, pick_channel};

/// The system's allocator, counting per thread what is asked of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to `System` unchanged; the counter is a plain thread-local without a destructor.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs decoder → mono → resampler → framer over `chunks`, and counts the allocations of the second half.
fn allocations_after_warm_up(format: StreamFormat, rate: u32, chunks: &[Vec<u8>]) -> u64 {
    let mut decoder = decoder_for(format).unwrap();
    let mut resampler = Resampler::new(rate).unwrap();
    let mut framer = Framer::new();
    let (mut mono, mut resampled) = (Vec::new(), Vec::new());
    let (mut frames, mut before) = (0, 0);
    for (n, chunk) in chunks.iter().enumerate() {
        if n == chunks.len() / 2 {
            before = ALLOCATIONS.get();
        }
        let result = decoder.decode(chunk, &mut |pcm| {
            mono.clear();
            if n % 2 == 0 {
                downmix(pcm.interleaved, pcm.channels, &mut mono);
            } else {
                pick_channel(pcm.interleaved, pcm.channels, pcm.channels - 1, &mut mono);
            }
            resampled.clear();
            resampler.process(&mono, &mut resampled);
            framer.push(&resampled);
            while framer.next_frame().is_some() {
                frames += 1;
            }
        });
        result.unwrap();
    }
    let allocations = ALLOCATIONS.get() - before;
    assert!(frames >= chunks.len(), "{frames} frames of {} chunks of 20 ms", chunks.len());
    allocations
}

#[test]
fn nothing_is_allocated_per_chunk_after_warm_up() {
    // A frame of the chunk is cut in half every time, by a length that is no multiple of the frame.
    let chunks = |bytes_per_second: usize, header: &[u8]| {
        let bytes: Vec<u8> =
            header.iter().copied().chain((0..bytes_per_second * 2).map(|n| (n * 7) as u8)).collect();
        bytes.chunks(bytes_per_second / 50 + 1).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    for (rate, channels) in [(16_000, 1), (48_000, 2), (44_100, 1), (8_000, 2), (44_101, 1)] {
        for (codec, bytes) in [(Codec::PcmS16le, 2), (Codec::PcmF32le, 4)] {
            let format = StreamFormat { codec, sample_rate: Some(rate), channels: Some(channels) };
            let chunks = chunks(rate as usize * usize::from(channels) * bytes, b"");
            assert_eq!(allocations_after_warm_up(format, rate, &chunks), 0, "{format:?}");
        }
    }

    let header = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x80\xbb\0\0\0\x77\x01\0\x02\0\x10\0data\xff\xff\xff\xff";
    let format = StreamFormat { codec: Codec::Wav, sample_rate: None, channels: None };
    // symphonia's PCM decoder ends every packet on an error that it boxes and drops: three small allocations.
    let chunks = chunks(96_000, header);
    let allocations = allocations_after_warm_up(format, 48_000, &chunks);
    assert!(
        allocations <= 4 * chunks.len() as u64 / 2,
        "WAV: {allocations} in half of {} chunks",
        chunks.len()
    );
}

/// The counter counts: a decoder that must allocate is seen to.
#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![0u8; 100]));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}
