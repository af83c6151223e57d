//! What a fuzzing process adds to a target: limits on memory, and which panics count.
//!
//! Not here: the targets, which ordinary tests run too.

#[path = "../../tests/support/bounded_allocator.rs"]
mod bounded_allocator;

use std::{collections::BTreeSet, panic, sync::Mutex};

use bounded_allocator::BoundedAllocator;

/// libFuzzer's own `-malloc_limit_mb` needs a sanitizer, which does not understand coroutines' stacks.
#[global_allocator]
static ALLOCATOR: BoundedAllocator = BoundedAllocator::new(LIVE_LIMIT, SINGLE_LIMIT);

/// Lets a panic inside symphonia pass, after printing each place once: the decoder catches it, and the stream is
/// refused. Every other panic ends the process, as libFuzzer's hook would have done with all.
pub fn pass_caught_panics() {
    let seen = Mutex::new(BTreeSet::new());
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if !place.contains("/symphonia-") {
            eprintln!("{info}");
            std::process::abort();
        }
        if seen.lock().is_ok_and(|mut seen| seen.insert(place)) {
            eprintln!("caught: {info}");
        }
    }));
}

/// A decoder and its input, with room for the target's own lists.
const LIVE_LIMIT: usize = 96 * 1024 * 1024;

/// The largest buffer that a format needs.
const SINGLE_LIMIT: usize = 40 * 1024 * 1024;
