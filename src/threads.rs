//! Work of the CPU kernels, spread over threads.
//!
//! Work goes to `rayon` through closures behind references: each loop is
//! compiled once for a type of element, not once for each of the hundreds of
//! functions that run in it.

use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Elements below which threads cost more than they bring.
pub(crate) const PARALLEL: usize = 1 << 15;

/// How many threads there are to work on.
pub(crate) fn count() -> usize {
    rayon::current_num_threads().max(1)
}

/// Whether [`among`] has given the threads something that is not done yet.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Calls `work` on one of the threads, which then shares its loops with the others without
/// being waited for from outside at each. While that goes on for somebody, others call
/// theirs where they are: a thread that waits for a loop takes whatever is there to do, and
/// would not come back before all of another's work was done.
pub(crate) fn among<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    struct Taken;
    impl Drop for Taken {
        fn drop(&mut self) {
            TAKEN.store(false, Ordering::Release);
        }
    }
    if rayon::current_thread_index().is_some() || TAKEN.swap(true, Ordering::Acquire) {
        return work();
    }
    let _taken = Taken;
    rayon::scope(|_| work())
}

/// Calls `work` with each piece of `size` elements of `data` (the last may be
/// shorter) and its number, `least` pieces or more on a thread.
pub(crate) fn pieces<T: Send>(
    data: &mut [T],
    size: usize,
    least: usize,
    work: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    let size = size.max(1);
    if data.len().div_ceil(size) <= least {
        data.chunks_mut(size).enumerate().for_each(|(i, piece)| work(i, piece));
    } else {
        let pieces = data.par_chunks_mut(size).with_min_len(least);
        pieces.enumerate().for_each(|(i, piece)| work(i, piece));
    }
}

/// What is done with two pieces side by side, and their number.
type Paired<'a, T, U> = &'a (dyn Fn(usize, &mut [T], &mut [U]) + Sync);

/// [`pieces`] of two slices side by side, which have as many.
pub(crate) fn pairs<T: Send, U: Send>(
    first: (&mut [T], usize),
    second: (&mut [U], usize),
    work: Paired<'_, T, U>,
) {
    let first = first.0.par_chunks_mut(first.1.max(1));
    let second = second.0.par_chunks_mut(second.1.max(1));
    first.zip(second).enumerate().for_each(|(i, (first, second))| work(i, first, second));
}

/// `make` of each of `0..count`, `least` or more of them on a thread.
pub(crate) fn collect<T: Send + Default + Clone>(
    count: usize,
    least: usize,
    make: &(dyn Fn(usize) -> T + Sync),
) -> Vec<T> {
    let mut all = vec![T::default(); count];
    pieces(&mut all, 1, least, &|i, place| place.iter_mut().for_each(|place| *place = make(i)));
    all
}

/// Work that goes on beside the caller's until this is dropped, which waits for it.
#[derive(Debug)]
pub(crate) struct Beside(Option<std::thread::JoinHandle<()>>);

/// Begins `work` on a thread of its own; where there are none (in a browser) it is
/// left out, so it must be something that only saves time.
pub(crate) fn beside(work: Box<dyn FnOnce() + Send>) -> Beside {
    if cfg!(target_arch = "wasm32") {
        return Beside(None);
    }
    let thread = std::thread::Builder::new().name("wginfer beside".into()).spawn(work);
    Beside(thread.map_err(|error| log::debug!("no further thread: {error}")).ok())
}

impl Drop for Beside {
    fn drop(&mut self) {
        // A panic has been printed, and what was left out is done later.
        let _ = self.0.take().map(std::thread::JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two at a time one is among the threads, and the other is done all the same.
    #[test]
    fn one_at_a_time_is_among_the_threads() {
        let place = || rayon::current_thread_index();
        let both = || {
            let other = std::thread::scope(|s| s.spawn(|| among(place)).join());
            (place(), among(place), other.unwrap())
        };
        // Other tests may be among the threads just now.
        let mut tries = (0..10_000).map(|_| {
            std::thread::yield_now();
            among(both)
        });
        let (own, inner, other) = tries.find(|(own, ..)| own.is_some()).unwrap();
        assert_eq!((inner, other), (own, None));
        assert!(std::panic::catch_unwind(|| among(|| panic!("as a test wants"))).is_err());
    }

    #[test]
    fn every_piece_is_met_once() {
        for (len, size, least) in [(0, 3, 1), (10, 3, 1), (10, 3, 9), (7, 1, 2), (5, 9, 1)] {
            let mut data = vec![0usize; len];
            pieces(&mut data, size, least, &|i, piece| {
                piece.iter_mut().enumerate().for_each(|(j, v)| *v += i * size + j + 1);
            });
            assert_eq!(data, (1..=len).collect::<Vec<_>>());
        }
        assert_eq!(collect(4, 1, &|i| i * i), [0, 1, 4, 9]);
        let (mut a, mut b) = (vec![0; 5], vec![0; 3]);
        pairs((&mut a, 2), (&mut b, 1), &|i, a, b| {
            a.fill(i);
            b.fill(i);
        });
        assert_eq!((a, b), (vec![0, 0, 1, 1, 2], vec![0, 1, 2]));
    }
}
