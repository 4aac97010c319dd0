//! The same work on each of a few things, on as many threads as there are cores; results come in the order of the things, so that
//! the number of cores changes nothing but the time.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

/// What `work` makes of each of `things`.
///
/// # Panics
/// When `work` does, as it does.
pub(super) fn each<I: Sync, T: Send>(things: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let work = &work;
    let mut done = Vec::new();
    for some in things.chunks(cores) {
        thread::scope(|scope| {
            let threads: Vec<_> = some.iter().map(|thing| scope.spawn(move || work(thing))).collect();
            done.extend(threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))));
        });
    }
    done
}
