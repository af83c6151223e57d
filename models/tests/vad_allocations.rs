//! A voice-activity detector allocates nothing per frame: counted by a global allocator, hence a binary of its own.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use models::vad::{EarshotVad, VoiceActivityDetector, WebRtcMode, WebRtcVad};

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
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn classify_and_reset_do_not_allocate() {
    let frame: Vec<f32> = (0..160).map(|n| (n as f32 * 0.3).sin() * 0.3).collect();
    let detectors: [Box<dyn VoiceActivityDetector>; 2] =
        [Box::new(EarshotVad::new()), Box::new(WebRtcVad::new(WebRtcMode::Aggressive))];
    for mut detector in detectors {
        // A detector of those who say nothing takes no memory: it is made with the first frames.
        for _ in 0..2 {
            detector.classify(&frame);
        }
        let before = ALLOCATIONS.get();
        for _ in 0..100 {
            detector.classify(&frame);
        }
        detector.reset();
        assert_eq!(ALLOCATIONS.get(), before);
    }
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_ne!(ALLOCATIONS.get(), before, "the counter counts");
}
