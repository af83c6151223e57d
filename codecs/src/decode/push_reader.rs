//! Feeds a parser that pulls (blocking `Read`) by pushing bytes at it, without a thread: the parser runs in a
//! stackful coroutine, which is suspended wherever it wants bytes that have not arrived.
//!
//! Not here: any format. This is the only file of the crate with `unsafe`; each site says why it holds.

use std::{
    any::Any,
    cell::Cell,
    io::{self, Read},
    mem,
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
};

use corosensei::{Coroutine, CoroutineResult, Yielder, stack::DefaultStack};

/// A parser at rest between two pushes. `T` is what it emits, `R` what it returns.
///
/// Dropping it in mid-stream unwinds the parser's stack, so that everything on it is freed.
pub(super) struct PushReader<T: 'static, R: 'static> {
    coroutine: Coroutine<Resume<T>, Suspend<T>, Result<R, Panicked>>,
    /// The buffer bytes travel in; empty between pushes, kept for its capacity.
    chunk: Vec<u8>,
    /// The item after which [`end`](Self::end) paused.
    paused: Option<T>,
}

/// How far [`PushReader::end`] came.
pub(super) enum Progress<R> {
    /// The sink asked for a pause; call again.
    Paused,
    /// The parser has returned.
    Returned(Result<R, Panicked>),
    /// It had returned before.
    Over,
}

/// The payload of a panic of the parser, as of a joined thread.
pub(super) type Panicked = Box<dyn Any + Send>;

/// What the parser is woken with.
enum Resume<T> {
    /// More of the stream; never empty.
    Bytes(Vec<u8>),
    /// The stream is over.
    End,
    /// The emitted item, seen and given back.
    Seen(T),
}

/// Why the parser rests.
enum Suspend<T> {
    /// It has read everything; the empty buffer comes back.
    Hungry(Vec<u8>),
    /// It has produced something.
    Item(T),
}

impl<T: Send + 'static, R: Send + 'static> PushReader<T, R> {
    /// Prepares `parse`; it starts with the first byte, and until then costs its address space and one page
    /// of memory.
    ///
    /// Contract, on which `Send` rests: what `parse` keeps while it reads or emits is `Send`, and is not
    /// shared with anything outside.
    ///
    /// # Errors
    /// When the system gives no address space for the stack.
    pub(super) fn new(
        parse: impl FnOnce(Source<'_, T>, Output<'_, T>) -> R + Send + 'static,
    ) -> io::Result<Self> {
        let stack = DefaultStack::new(STACK_BYTES)?;
        let coroutine = Coroutine::with_stack(stack, move |yielder, first| {
            let port = Port { yielder, unanswered: Cell::new(0), ended: Cell::new(false) };
            let mut source = Source { port: &port, chunk: Vec::new(), read: 0, skippable: SKIPPED_BYTES };
            source.accept(first);
            // Caught here, so that a panic of the parser never unwinds into the caller. The forced unwinding
            // of a drop ends here too, which is one of the two ends it may have.
            panic::catch_unwind(AssertUnwindSafe(|| parse(source, Output { port: &port })))
        });
        Ok(Self { coroutine, chunk: Vec::new(), paused: None })
    }

    /// Gives `bytes` to the parser; `sink` sees each item it emits. `Some` when the parser has returned: it
    /// is over.
    pub(super) fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&T)) -> Option<Result<R, Panicked>> {
        bytes.chunks(CHUNK_BYTES).find_map(|part| {
            let mut chunk = mem::take(&mut self.chunk);
            chunk.extend_from_slice(part);
            match self.run(Resume::Bytes(chunk), &mut |item| {
                sink(item);
                ControlFlow::Continue(())
            }) {
                Progress::Returned(result) => Some(result),
                Progress::Paused | Progress::Over => None,
            }
        })
    }

    /// Says that no more bytes come, and runs the parser towards its end: until it returns, or until `sink`
    /// breaks after an item. Then call again.
    pub(super) fn end(&mut self, sink: &mut dyn FnMut(&T) -> ControlFlow<()>) -> Progress<R> {
        let resume = self.paused.take().map_or(Resume::End, Resume::Seen);
        self.run(resume, sink)
    }

    fn run(&mut self, mut resume: Resume<T>, sink: &mut dyn FnMut(&T) -> ControlFlow<()>) -> Progress<R> {
        if self.coroutine.done() {
            return Progress::Over;
        }
        loop {
            match self.coroutine.resume(resume) {
                CoroutineResult::Yield(Suspend::Hungry(chunk)) => {
                    self.chunk = chunk;
                    return Progress::Over;
                }
                CoroutineResult::Yield(Suspend::Item(item)) => {
                    if sink(&item).is_break() {
                        self.paused = Some(item);
                        return Progress::Paused;
                    }
                    resume = Resume::Seen(item);
                }
                CoroutineResult::Return(result) => return Progress::Returned(result),
            }
        }
    }
}

// SAFETY: a coroutine may move between threads when all that lies on its stack is `Send` (corosensei's
// documentation of `Coroutine`).
// * What lies there: `parse` (`Send` by bound), what it keeps (its contract; for symphonia `MediaSource`,
//   `FormatReader` and `AudioDecoder` are `Send` by their traits, `opusic_c::Decoder` by its own word: libopus
//   keeps its state on the heap and shares none), and `Port`, `Source` and `Output` of this
//   file: buffers, counters and references to the coroutine's own stack.
// * It is resumed and dropped through `&mut self` or by value only, so by one thread at a time.
// * No frame holds the address of a thread-local across a suspension, which happens only inside
//   `Source::refill` and `Output::remark`: neither this file, nor corosensei 0.3, nor symphonia
//   0.6, nor opusic-c 1.6 with its libopus has a thread-local of its own (searched in their sources;
//   corosensei's are in its tests). No frame of C is on the stack then: libopus returns before anything is
//   emitted. The
//   allocator's, the logger's and the panic counter belong to calls that return without suspending: nothing
//   reads while a panic is under way.
#[allow(unsafe_code)]
unsafe impl<T: Send, R: Send> Send for PushReader<T, R> {}

/// The coroutine's side: shared by the reading and the emitting end.
struct Port<'y, T> {
    yielder: &'y Yielder<Resume<T>, Suspend<T>>,
    /// Bytes read since something was last emitted.
    unanswered: Cell<usize>,
    /// No more bytes come.
    ended: Cell<bool>,
}

/// The reading end, inside the parser: the pushed stream as a blocking `Read`.
pub(super) struct Source<'y, T> {
    port: &'y Port<'y, T>,
    chunk: Vec<u8>,
    read: usize,
    /// What is left of [`SKIPPED_BYTES`].
    skippable: u64,
}

// SAFETY: symphonia asks for `Send + Sync` of a `MediaSource`. A `Source` is created on the coroutine's stack
// and lives inside the parser on it; it moves to another thread only with the whole coroutine, at rest (see
// `PushReader`), and the parsers used here (symphonia's) start no thread and share no reader.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Source<'_, T> {}
// SAFETY: as above; besides, no method takes `&self`.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Source<'_, T> {}

impl<T> Source<'_, T> {
    /// Reads past `count` bytes. Nobody keeps them, so they do not count against [`UNANSWERED_BYTES`], but
    /// they have a bound of their own, [`SKIPPED_BYTES`] in all: a header is not skipped for ever.
    ///
    /// # Errors
    /// `UnexpectedEof` when the stream ends first; [`Unanswered`] past the bound, before anything is skipped.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<()> {
        self.skippable = self.skippable.checked_sub(count).ok_or_else(|| io::Error::other(Unanswered))?;
        let mut left = count;
        while left > 0 {
            if !self.refill() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = left.min((self.chunk.len() - self.read) as u64);
            self.read += step as usize;
            left -= step;
        }
        Ok(())
    }

    /// Appends the next `count` bytes of the stream to `kept`; `false` when it ends before. These bytes do not
    /// count against [`UNANSWERED_BYTES`]: the caller bounds them.
    pub(super) fn keep(&mut self, kept: &mut Vec<u8>, count: usize) -> bool {
        let mut left = count;
        while left > 0 {
            if !self.refill() {
                return false;
            }
            let step = left.min(self.chunk.len() - self.read);
            kept.extend_from_slice(&self.chunk[self.read..self.read + step]);
            self.read += step;
            left -= step;
        }
        true
    }

    /// Waits until there are unread bytes; `false` at the end of the stream.
    fn refill(&mut self) -> bool {
        while self.read == self.chunk.len() {
            if self.port.ended.get() {
                return false;
            }
            self.read = 0;
            self.chunk.clear();
            let resumed = self.port.yielder.suspend(Suspend::Hungry(mem::take(&mut self.chunk)));
            self.accept(resumed);
        }
        true
    }

    fn accept(&mut self, resumed: Resume<T>) {
        match resumed {
            Resume::Bytes(chunk) => self.chunk = chunk,
            Resume::End => self.port.ended.set(true),
            Resume::Seen(_) => unreachable!("nothing was emitted"),
        }
    }
}

impl<T> Read for Source<'_, T> {
    /// Reads what is there; waits only when nothing is. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// When [`UNANSWERED_BYTES`] have been read and nothing came of it, and from then on always.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let unanswered = self.port.unanswered.get();
        if unanswered >= UNANSWERED_BYTES {
            return Err(io::Error::other(Unanswered));
        }
        if buffer.is_empty() || !self.refill() {
            return Ok(0);
        }
        let count = buffer.len().min(self.chunk.len() - self.read);
        buffer[..count].copy_from_slice(&self.chunk[self.read..self.read + count]);
        self.read += count;
        self.port.unanswered.set(unanswered + count);
        Ok(count)
    }
}

/// A bound was reached: [`UNANSWERED_BYTES`] or [`SKIPPED_BYTES`] went by and nothing came of them.
#[derive(Debug, thiserror::Error)]
#[error("too many bytes without audio")]
pub(super) struct Unanswered;

/// The emitting end, inside the parser.
pub(super) struct Output<'y, T> {
    port: &'y Port<'y, T>,
}

impl<T> Output<'_, T> {
    /// Shows `item` to the pushing side, and has it back for its buffers. It answers for the bytes read.
    pub(super) fn emit(&mut self, item: T) -> T {
        self.port.unanswered.set(0);
        self.remark(item)
    }

    /// Whether the stream has ended, and its end was met.
    pub(super) fn ended(&self) -> bool {
        self.port.ended.get()
    }

    /// Bytes read since something was emitted.
    pub(super) fn unanswered(&self) -> usize {
        self.port.unanswered.get()
    }

    /// As [`emit`](Self::emit), but it does not answer for the bytes read.
    pub(super) fn remark(&mut self, item: T) -> T {
        match self.port.yielder.suspend(Suspend::Item(item)) {
            Resume::Seen(item) => item,
            Resume::Bytes(_) | Resume::End => unreachable!("an emitted item is given back first"),
        }
    }
}

/// Bytes that may be read without anything being emitted: bounds what a parser can be made to keep. One FLAC
/// frame of the streamable subset is at most 512 KiB (16,384 samples of 8 channels at 32 bits).
const UNANSWERED_BYTES: usize = 1024 * 1024;

/// Bytes of a header that may be skipped: two of FLAC's largest metadata blocks (a cover picture), 16 MiB
/// each.
const SKIPPED_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes handed over at once: bounds the buffer, however much is pushed.
const CHUNK_BYTES: usize = 4096;

/// Address space of a parser's stack; only the pages it has touched are resident. Measured with all tests of
/// the containers, optimised: 96 KiB are too little (MP3's decoder is built there), 128 KiB enough. Below it
/// lies a guard page, so that an overflow ends the process; C does not probe its stack and might step over
/// it: hence four times what is needed.
const STACK_BYTES: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// A parser that emits pairs of bytes and returns how many bytes it read.
    fn pairs() -> PushReader<[u8; 2], usize> {
        PushReader::new(|mut source, mut output| {
            let mut pair = [0; 2];
            let mut count = 0;
            while source.read_exact(&mut pair).is_ok() {
                count += output.emit(pair).len();
            }
            count
        })
        .unwrap()
    }

    #[test]
    fn a_pulling_parser_is_fed_by_pushing() {
        let bytes: Vec<u8> = (0..=255).cycle().take(10_001).collect();
        for size in [1, 2, 3, 100, CHUNK_BYTES, CHUNK_BYTES + 1, 10_001] {
            let mut reader = pairs();
            let mut seen = Vec::new();
            for (n, chunk) in bytes.chunks(size).enumerate() {
                assert!(reader.push(chunk, &mut |pair| seen.extend_from_slice(pair)).is_none());
                let pushed = (n * size + chunk.len()) / 2 * 2;
                assert_eq!(seen.len(), pushed, "everything complete comes out at once");
            }
            assert_eq!(end(&mut reader, &mut |_| panic!("half a pair")).unwrap(), 10_000);
            assert_eq!(seen, bytes[..10_000]);
            assert!(reader.push(b"more", &mut |_| panic!("over")).is_none());
            assert!(matches!(reader.end(&mut |_| panic!("over")), Progress::Over));
        }
    }

    /// Runs `reader` to its end without a pause.
    fn end<T: Send, R: Send>(reader: &mut PushReader<T, R>, sink: &mut dyn FnMut(&T)) -> Result<R, Panicked> {
        let progress = reader.end(&mut |item| {
            sink(item);
            ControlFlow::Continue(())
        });
        match progress {
            Progress::Returned(result) => result,
            Progress::Paused | Progress::Over => panic!("it did not return"),
        }
    }

    #[test]
    fn the_end_pauses_where_the_sink_wants_and_goes_on_from_there() {
        let bytes: Vec<u8> = (0..100).collect();
        let mut reader = PushReader::new(|mut source, mut output| {
            let mut all = Vec::new();
            assert!(source.keep(&mut all, 99) && !source.keep(&mut all, 2));
            all.iter().for_each(|&byte| {
                output.emit(byte);
            });
        })
        .unwrap();
        assert!(reader.push(&bytes, &mut |_| panic!("it keeps")).is_none());
        let mut seen = Vec::new();
        let mut pauses = 0;
        loop {
            let progress = reader.end(&mut |&byte| {
                seen.push(byte);
                if byte % 30 == 29 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match progress {
                Progress::Paused => pauses += 1,
                Progress::Returned(result) => break result.unwrap(),
                Progress::Over => panic!("over too soon"),
            }
        }
        assert_eq!((pauses, seen), (3, bytes.clone()));
    }

    /// Counts itself down when it is freed.
    struct Held(Arc<AtomicUsize>);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// A parser that holds something on its stack and something on the heap, and emits every byte.
    fn holding(count: &Arc<AtomicUsize>) -> PushReader<u8, ()> {
        count.store(2, Ordering::SeqCst);
        let (captured, created) = (Held(Arc::clone(count)), Arc::clone(count));
        PushReader::new(move |mut source, mut output| {
            let _captured = captured;
            let _boxed = Box::new(Held(created));
            let mut byte = [0];
            while source.read_exact(&mut byte).is_ok() {
                assert_ne!(output.emit(byte[0]), b'!', "the parser's own panic");
            }
        })
        .unwrap()
    }

    #[test]
    fn a_dropped_parser_frees_what_it_holds() {
        let count = Arc::new(AtomicUsize::new(0));
        let left = || count.load(Ordering::SeqCst);

        let unstarted = holding(&count);
        drop(unstarted);
        assert_eq!(left(), 1, "only the captured one was ever there");

        let mut started = holding(&count);
        assert!(started.push(b"abc", &mut |_| {}).is_none());
        assert_eq!(left(), 2);
        std::thread::spawn(move || drop(started)).join().unwrap();
        assert_eq!(left(), 0, "dropped in mid-stream, on another thread");
    }

    #[test]
    fn a_panic_of_the_parser_is_a_result() {
        let count = Arc::new(AtomicUsize::new(0));
        let mut reader = holding(&count);
        let panicked = reader.push(b"a!b", &mut |_| {}).unwrap().unwrap_err();
        assert!(panicked.downcast_ref::<String>().unwrap().contains("the parser's own panic"));
        assert_eq!(count.load(Ordering::SeqCst), 0);
        assert!(reader.push(b"more", &mut |_| panic!("over")).is_none());
    }

    #[test]
    fn a_panic_of_the_sink_passes_through_and_still_frees() {
        let count = Arc::new(AtomicUsize::new(0));
        let mut reader = holding(&count);
        let result = panic::catch_unwind(AssertUnwindSafe(move || {
            // The parser rests in `emit`; `reader` is dropped while this panic unwinds.
            reader.push(b"abc", &mut |_| panic!("the sink's own panic"));
        }));
        assert_eq!(*result.unwrap_err().downcast_ref::<&str>().unwrap(), "the sink's own panic");
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn reading_without_an_answer_and_skipping_are_bounded() {
        let reads = |emit_every: usize, bytes: usize| {
            let mut reader = PushReader::new(move |mut source, mut output| {
                let mut read = 0;
                loop {
                    match source.read(&mut [0; 1024]) {
                        Ok(0) => return (read, false),
                        Ok(count) => read += count,
                        Err(error) => return (read, error.get_ref().unwrap().is::<Unanswered>()),
                    }
                    if read % emit_every == 0 {
                        output.emit(());
                    }
                }
            })
            .unwrap();
            reader
                .push(&vec![0; bytes], &mut |_| {})
                .unwrap_or_else(|| end(&mut reader, &mut |_| {}))
                .unwrap()
        };
        assert_eq!(reads(usize::MAX, 3 * UNANSWERED_BYTES), (UNANSWERED_BYTES, true));
        assert_eq!(reads(4096, 3 * UNANSWERED_BYTES), (3 * UNANSWERED_BYTES, false));

        let skips = |count: u64| {
            let mut reader = PushReader::<(), _>::new(move |mut source, _output| {
                source.skip(count).map_err(|error| error.kind())?;
                let mut next = [0];
                source.read_exact(&mut next).map_err(|error| error.kind())?;
                Ok(next[0])
            })
            .unwrap();
            let bytes: Vec<u8> = (0..100).collect();
            reader.push(&bytes, &mut |_| {}).unwrap_or_else(|| end(&mut reader, &mut |_| {})).unwrap()
        };
        assert_eq!(skips(0), Ok(0));
        assert_eq!(skips(99), Ok(99));
        assert_eq!(skips(100), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(skips(SKIPPED_BYTES), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(skips(SKIPPED_BYTES + 1), Err(io::ErrorKind::Other));
    }
}
