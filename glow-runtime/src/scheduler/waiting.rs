//! The queue of a graph: jobs of one or more images each, drawn from in batches.
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// A job as the queue sees it.
pub(super) trait Item {
    /// Images that it is of.
    fn images(&self) -> usize;

    /// Whether it need not be done any more.
    fn is_over(&self, now: Instant) -> bool;
}

/// Jobs of which not all images have been drawn.
pub(super) struct Waiting<J> {
    jobs: VecDeque<Entry<J>>,
    images: usize,
}

struct Entry<J> {
    job: Arc<J>,
    /// The first image that has not been drawn.
    next: usize,
}

/// Images of a job that go into one batch.
pub(super) type Part<J> = (Arc<J>, Range<usize>);

impl<J: Item> Waiting<J> {
    pub fn new() -> Self {
        Self { jobs: VecDeque::new(), images: 0 }
    }

    /// Images that wait.
    pub fn images(&self) -> usize {
        self.images
    }

    pub fn push(&mut self, job: Arc<J>) {
        self.images += job.images();
        self.jobs.push_back(Entry { job, next: 0 });
    }

    /// Takes out the jobs that need not be done any more.
    pub fn take_over(&mut self, now: Instant) -> Vec<Arc<J>> {
        // The usual case allocates nothing.
        if !self.jobs.iter().any(|entry| entry.job.is_over(now)) {
            return Vec::new();
        }
        let (over, rest): (VecDeque<_>, _) =
            std::mem::take(&mut self.jobs).into_iter().partition(|entry| entry.job.is_over(now));
        self.jobs = rest;
        self.images -= over.iter().map(|entry| entry.job.images() - entry.next).sum::<usize>();
        over.into_iter().map(|entry| entry.job).collect()
    }

    /// Takes out all.
    pub fn take_all(&mut self) -> Vec<Arc<J>> {
        self.images = 0;
        self.jobs.drain(..).map(|entry| entry.job).collect()
    }

    /// Draws a batch: as many images as wait, cut to a power of two and to `most`, so that there are few sizes.
    /// Jobs take turns: one that is not drawn to its end goes behind the others.
    pub fn draw(&mut self, most: usize) -> Vec<Part<J>> {
        let mut left = batch(self.images, most);
        self.images -= left;
        let mut parts = Vec::new();
        while left > 0 {
            let mut entry = self.jobs.pop_front().expect("as many images as were counted");
            let end = entry.job.images().min(entry.next + left);
            left -= end - entry.next;
            parts.push((Arc::clone(&entry.job), entry.next..end));
            if end < entry.job.images() {
                entry.next = end;
                self.jobs.push_back(entry);
            }
        }
        parts
    }
}

/// The size of the next batch.
fn batch(images: usize, most: usize) -> usize {
    if images >= most {
        return most;
    }
    match images {
        0 => 0,
        images => 1 << images.ilog2(),
    }
}

/// The sizes of all batches that there can be, in ascending order.
pub(super) fn sizes(most: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> = (1..=most).map(|images| batch(images, most)).collect();
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Fake {
        name: char,
        images: usize,
        deadline: Option<Instant>,
    }

    impl Item for Fake {
        fn images(&self) -> usize {
            self.images
        }

        fn is_over(&self, now: Instant) -> bool {
            self.deadline.is_some_and(|deadline| deadline <= now)
        }
    }

    fn queue(jobs: &[(char, usize)]) -> Waiting<Fake> {
        let mut queue = Waiting::new();
        for &(name, images) in jobs {
            queue.push(Arc::new(Fake { name, images, deadline: None }));
        }
        queue
    }

    fn draw(queue: &mut Waiting<Fake>, most: usize) -> Vec<(char, Range<usize>)> {
        queue.draw(most).into_iter().map(|(job, range)| (job.name, range)).collect()
    }

    #[test]
    fn batches_have_few_sizes() {
        assert_eq!([0, 1, 2, 3, 4, 7, 8, 100].map(|images| batch(images, 8)), [0, 1, 2, 2, 4, 4, 8, 8]);
        assert_eq!([5, 6, 9].map(|images| batch(images, 6)), [4, 6, 6]);
        assert_eq!((sizes(8), sizes(6), sizes(1)), (vec![1, 2, 4, 8], vec![1, 2, 4, 6], vec![1]));
    }

    #[test]
    fn what_waits_is_merged_in_its_order() {
        let mut queue = queue(&[('a', 1), ('b', 2), ('c', 1), ('d', 1)]);
        assert_eq!(draw(&mut queue, 8), [('a', 0..1), ('b', 0..2), ('c', 0..1)]);
        assert_eq!(queue.images(), 1);
        assert_eq!(draw(&mut queue, 8), [('d', 0..1)]);
        assert_eq!(draw(&mut queue, 8), []);
    }

    #[test]
    fn a_large_job_lets_others_have_their_turn() {
        let mut queue = queue(&[('a', 10), ('b', 1), ('c', 1)]);
        assert_eq!(draw(&mut queue, 4), [('a', 0..4)]);
        assert_eq!(draw(&mut queue, 4), [('b', 0..1), ('c', 0..1), ('a', 4..6)]);
        assert_eq!(draw(&mut queue, 4), [('a', 6..10)]);
        assert_eq!(queue.images(), 0);
    }

    #[test]
    fn what_is_over_is_not_drawn() {
        let now = Instant::now();
        let mut queue = queue(&[('a', 3), ('b', 2)]);
        queue.push(Arc::new(Fake { name: 'c', images: 5, deadline: Some(now) }));
        assert_eq!(draw(&mut queue, 2), [('a', 0..2)]);
        assert_eq!(draw(&mut queue, 4), [('b', 0..2), ('c', 0..2)]);
        assert!(queue.take_over(now - Duration::from_secs(1)).is_empty());
        assert_eq!(queue.take_over(now).iter().map(|job| job.name).collect::<Vec<_>>(), ['c']);
        assert_eq!((queue.images(), draw(&mut queue, 4)), (1, vec![('a', 2..3)]));
    }
}
