//! A global allocator that counts what is live, and ends the process when that, or one allocation, passes a limit.
//!
//! Not here: what the limits should be. Shared by the hostile tests and the fuzz targets; only Rust's own allocations
//! are seen, not libopus's.

#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The system's allocator with limits, in bytes.
pub(crate) struct BoundedAllocator {
    /// The most that may be live.
    live_limit: usize,
    /// The most that one allocation may ask for.
    single_limit: usize,
    live: AtomicUsize,
    peak: AtomicUsize,
    largest: AtomicUsize,
}

impl BoundedAllocator {
    pub(crate) const fn new(live_limit: usize, single_limit: usize) -> Self {
        let (live, peak, largest) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        Self { live_limit, single_limit, live, peak, largest }
    }

    /// What `act` returns, the most that was live during it beyond what was before, and its largest single
    /// allocation. Other threads count too.
    pub(crate) fn measure<R>(&self, act: impl FnOnce() -> R) -> (R, usize, usize) {
        let before = self.live.load(Relaxed);
        self.peak.store(before, Relaxed);
        self.largest.store(0, Relaxed);
        let result = act();
        (result, self.peak.load(Relaxed) - before, self.largest.load(Relaxed))
    }

    fn take(&self, bytes: usize) {
        let live = self.live.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(live, Relaxed);
        self.largest.fetch_max(bytes, Relaxed);
        if bytes > self.single_limit || live > self.live_limit {
            // A panic would allocate; and it could be caught.
            std::process::abort();
        }
    }

    fn give(&self, bytes: usize) {
        self.live.fetch_sub(bytes, Relaxed);
    }
}

// SAFETY: every call goes to `System` unchanged; the counters are atomics and allocate nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for BoundedAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.give(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks are live while one is copied to the other.
        self.take(size);
        // SAFETY: the caller's promise is passed on.
        let moved = unsafe { System.realloc(block, layout, size) };
        self.give(layout.size());
        moved
    }
}
