//! A lock that serves callers in the order in which they came.
//!
//! A standard mutex may be taken again by the thread that has just released it. Under a loop of inferences a swap could
//! then wait for ever. Here each caller draws a number and is served when it comes up: a swap waits for the inferences
//! that were there before it and for no other, and the inferences that come later wait for the swap.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A value behind a first come, first served lock.
pub(crate) struct Turns<T> {
    numbers: Mutex<Numbers>,
    next_is_up: Condvar,
    value: Mutex<T>,
}

struct Numbers {
    /// The number that the next caller draws.
    next: u64,
    /// The number whose turn it is.
    up: u64,
}

impl<T> Turns<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { numbers: Mutex::new(Numbers { next: 0, up: 0 }), next_is_up: Condvar::new(), value: Mutex::new(value) }
    }

    /// Waits for this caller's turn. `None` if an earlier caller panicked while it held the value, which may then be
    /// half changed.
    pub(crate) fn take(&self) -> Option<Turn<'_, T>> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = numbers.next;
        numbers.next += 1;
        while numbers.up != mine {
            numbers = self.next_is_up.wait(numbers).unwrap_or_else(PoisonError::into_inner);
        }
        drop(numbers);
        // Made first, so that the turn passes on whatever happens to the value.
        let end = EndOfTurn { numbers: &self.numbers, next_is_up: &self.next_is_up };
        Some(Turn { value: self.value.lock().ok()?, _end: end })
    }
}

/// A caller's turn: the value, until this is dropped.
pub(crate) struct Turn<'a, T> {
    // Dropped in this order: first the value is free, then the next number comes up.
    value: MutexGuard<'a, T>,
    _end: EndOfTurn<'a>,
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

struct EndOfTurn<'a> {
    numbers: &'a Mutex<Numbers>,
    next_is_up: &'a Condvar,
}

impl Drop for EndOfTurn<'_> {
    fn drop(&mut self) {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).up += 1;
        self.next_is_up.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn callers_are_served_in_the_order_in_which_they_came() {
        let turns = Arc::new(Turns::new(Vec::new()));
        let first = turns.take().unwrap();
        let mut threads = Vec::new();
        for caller in 0..8 {
            let theirs = Arc::clone(&turns);
            threads.push(thread::spawn(move || theirs.take().unwrap().push(caller)));
            // Wait until this caller has drawn its number, so that the order is known.
            while turns.numbers.lock().unwrap().next != caller + 2 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        drop(first);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*turns.take().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_panic_is_noticed_and_blocks_nobody() {
        let turns = Arc::new(Turns::new(0));
        let theirs = Arc::clone(&turns);
        let panicked = thread::spawn(move || {
            let _turn = theirs.take().unwrap();
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(panicked.join().is_err());
        assert!(turns.take().is_none());
        assert!(turns.take().is_none());
    }
}
