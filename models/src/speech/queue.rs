//! The order in which waiting jobs run: by class, in turn among streams, bounded.
//!
//! A plain data structure. Not here: threads, replies, running jobs (`pool.rs`).

use std::collections::VecDeque;

use super::Priority;

/// What the queue must know of a job.
pub(super) trait Queued {
    /// Identifies the job.
    fn id(&self) -> u64;
    /// Its class.
    fn priority(&self) -> Priority;
    /// The source of its audio.
    fn stream(&self) -> u64;
}

/// At most `capacity` waiting jobs.
pub(super) struct Queue<J> {
    capacity: usize,
    /// By class, most urgent first.
    classes: [Class<J>; 3],
}

/// Streams in the order they are served; each with its jobs, oldest first, never empty.
type Class<J> = VecDeque<VecDeque<J>>;

/// What became of a [`Queue::push`].
#[derive(Debug, PartialEq)]
pub(super) struct Pushed<J> {
    /// The job itself when there was no room for it.
    pub(super) refused: Option<J>,
    /// Interim jobs of the same stream that it made pointless.
    pub(super) superseded: Vec<J>,
    /// A less urgent job that gave its place away.
    pub(super) evicted: Option<J>,
}

impl<J: Queued> Queue<J> {
    /// An empty queue.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, classes: Default::default() }
    }

    /// Jobs waiting.
    pub(super) fn len(&self) -> usize {
        self.classes.iter().flatten().map(VecDeque::len).sum()
    }

    /// Jobs waiting that are more urgent than interim ones.
    pub(super) fn urgent(&self) -> usize {
        self.len() - self.class(Priority::Interim).iter().map(VecDeque::len).sum::<usize>()
    }

    /// Adds `job`. Any job supersedes waiting interim jobs of its stream: they say less than it will. When the queue is
    /// full, a more urgent job takes the place of the newest among the least urgent.
    pub(super) fn push(&mut self, job: J) -> Pushed<J> {
        let mut pushed = Pushed { refused: None, superseded: Vec::new(), evicted: None };
        let interim = self.class_mut(Priority::Interim);
        if let Some(position) = interim.iter().position(|jobs| jobs[0].stream() == job.stream()) {
            pushed.superseded = interim.remove(position).into_iter().flatten().collect();
        }
        if self.len() >= self.capacity {
            pushed.evicted = self.evict(job.priority());
            if pushed.evicted.is_none() {
                pushed.refused = Some(job);
                return pushed;
            }
        }
        let class = self.class_mut(job.priority());
        match class.iter_mut().find(|jobs| jobs[0].stream() == job.stream()) {
            Some(jobs) => jobs.push_back(job),
            None => class.push_back(VecDeque::from([job])),
        }
        pushed
    }

    /// The job to run next: of the most urgent class, the oldest of the stream whose turn it is.
    pub(super) fn pop(&mut self) -> Option<J> {
        let class = self.classes.iter_mut().find(|class| !class.is_empty())?;
        let mut jobs = class.pop_front()?;
        let job = jobs.pop_front();
        if !jobs.is_empty() {
            class.push_back(jobs);
        }
        job
    }

    /// Takes the job `id` out, if it waits here.
    pub(super) fn remove(&mut self, id: u64) -> Option<J> {
        for class in &mut self.classes {
            for turn in 0..class.len() {
                if let Some(position) = class[turn].iter().position(|job| job.id() == id) {
                    let job = class[turn].remove(position);
                    if class[turn].is_empty() {
                        class.remove(turn);
                    }
                    return job;
                }
            }
        }
        None
    }

    /// Takes out a job of `stream` in the class of guesses.
    pub(super) fn take_guess(&mut self, stream: u64) -> Option<J> {
        let guesses = self.class(Priority::Speculative);
        let id = guesses.iter().find(|jobs| jobs[0].stream() == stream)?.back()?.id();
        self.remove(id)
    }

    /// Takes out the newest job of the least urgent class below `priority`, from the stream with the most jobs there.
    fn evict(&mut self, priority: Priority) -> Option<J> {
        for below in [Priority::Interim, Priority::Speculative] {
            let class = self.class_mut(below);
            if below < priority
                && let Some(turn) = (0..class.len()).max_by_key(|turn| class[*turn].len())
            {
                let job = class[turn].pop_back();
                if class[turn].is_empty() {
                    class.remove(turn);
                }
                return job;
            }
        }
        None
    }

    fn class(&self, priority: Priority) -> &Class<J> {
        &self.classes[index(priority)]
    }

    fn class_mut(&mut self, priority: Priority) -> &mut Class<J> {
        &mut self.classes[index(priority)]
    }
}

fn index(priority: Priority) -> usize {
    match priority {
        Priority::Final => 0,
        Priority::Speculative => 1,
        Priority::Interim => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Final, Interim, Speculative};

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Job(u64, Priority, u64);

    impl Queued for Job {
        fn id(&self) -> u64 {
            self.0
        }
        fn priority(&self) -> Priority {
            self.1
        }
        fn stream(&self) -> u64 {
            self.2
        }
    }

    fn filled(capacity: usize, jobs: &[Job]) -> Queue<Job> {
        let mut queue = Queue::new(capacity);
        for job in jobs {
            assert_eq!(queue.push(*job).refused, None);
        }
        queue
    }

    #[test]
    fn runs_by_class_then_in_turn_among_streams() {
        let check = |jobs: &[Job], expected: &[u64]| {
            let mut queue = filled(16, jobs);
            assert_eq!(std::iter::from_fn(|| queue.pop()).map(|job| job.0).collect::<Vec<_>>(), expected);
        };
        check(&[], &[]);
        check(
            &[Job(1, Interim, 1), Job(2, Speculative, 2), Job(3, Final, 3), Job(4, Final, 4)],
            &[3, 4, 2, 1],
        );
        // A stream with much to do waits for those with little.
        check(
            &[Job(1, Final, 1), Job(2, Final, 1), Job(3, Final, 1), Job(4, Final, 2), Job(5, Final, 3)],
            &[1, 4, 5, 2, 3],
        );
    }

    #[test]
    fn the_latest_interim_wins_and_anything_supersedes_interims() {
        let mut queue = filled(8, &[Job(1, Interim, 1), Job(2, Interim, 2)]);
        assert_eq!(queue.push(Job(3, Interim, 1)).superseded, [Job(1, Interim, 1)]);
        assert_eq!(queue.push(Job(4, Speculative, 1)).superseded, [Job(3, Interim, 1)]);
        assert_eq!(queue.push(Job(5, Final, 2)).superseded, [Job(2, Interim, 2)]);
        assert_eq!((queue.len(), queue.urgent()), (2, 2));
    }

    #[test]
    fn full_queues_refuse_the_less_urgent_and_make_room_for_the_more_urgent() {
        let mut queue = filled(3, &[Job(1, Interim, 1), Job(2, Speculative, 2), Job(3, Final, 3)]);
        assert_eq!(queue.push(Job(4, Interim, 4)).refused, Some(Job(4, Interim, 4)));
        assert_eq!(queue.push(Job(5, Final, 5)).evicted, Some(Job(1, Interim, 1)));
        assert_eq!(queue.push(Job(6, Speculative, 6)).refused, Some(Job(6, Speculative, 6)));
        assert_eq!(queue.push(Job(7, Final, 7)).evicted, Some(Job(2, Speculative, 2)));
        assert_eq!(queue.push(Job(8, Final, 8)).refused, Some(Job(8, Final, 8)));
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn removes_by_id() {
        let mut queue = filled(8, &[Job(1, Final, 1), Job(2, Final, 1), Job(3, Interim, 2)]);
        assert_eq!(queue.remove(1), Some(Job(1, Final, 1)));
        assert_eq!(queue.remove(3), Some(Job(3, Interim, 2)));
        assert_eq!(queue.remove(3), None);
        assert_eq!(queue.pop(), Some(Job(2, Final, 1)));
        assert_eq!(queue.pop(), None);
    }
}
