//! The concurrency of the runtime under a model checker (loom): every order in which threads can meet in `switch.rs`.
//!
//! The file itself is compiled here a second time, with the checker's primitives in the place of the standard ones. The
//! value behind the switch is a cell that the checker watches: a write while somebody reads, or a read of what was taken
//! back, is found in whatever order it happens. `cargo test --release --manifest-path tests/model/Cargo.toml`.
//!
//! It is a package outside of the workspace because the checker's dependencies would change the features of crates that
//! burn is built with.

#![cfg(test)]

use loom::cell::UnsafeCell;
use loom::thread;

#[path = "../../../crates/runtime/src/switch.rs"]
mod switch;

/// What `switch.rs` is made of, here.
mod sync {
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
}

use switch::Switch;
use sync::Arc;

/// A composition: two numbers that are equal unless it is half written.
struct View {
    halves: UnsafeCell<[u32; 2]>,
}

// SAFETY: the model checker watches each access to the cell and fails when two of them are not allowed together.
unsafe impl Sync for View {}

impl View {
    fn of(number: u32) -> Arc<Self> {
        Arc::new(Self { halves: UnsafeCell::new([number; 2]) })
    }

    fn read(&self) -> u32 {
        // SAFETY: the model checker fails if somebody writes.
        let [one, two] = self.halves.with(|halves| unsafe { *halves });
        assert_eq!(one, two);
        one
    }

    fn write(&self, number: u32) {
        // SAFETY: the model checker fails if somebody reads or writes.
        self.halves.with_mut(|halves| unsafe { *halves = [number; 2] });
    }
}

#[test]
fn what_is_taken_back_has_no_reader_left_and_leases_see_one_whole_value() {
    loom::model(|| {
        let switch = Arc::new(Switch::new(View::of(1)));
        let reader = {
            let switch = Arc::clone(&switch);
            thread::spawn(move || {
                let first = switch.lease().read();
                let second = switch.lease().read();
                assert!(first <= second && second <= 2, "{second} was seen after {first}");
            })
        };
        let before = switch.replace(View::of(2)).when_unused();
        // As a session does: the old view's memory is written for the next composition.
        before.write(3);
        assert!(Arc::try_unwrap(before).is_ok(), "a reference from the switch is left");
        reader.join().unwrap();
        assert_eq!(switch.lease().read(), 2);
    });
}

#[test]
fn the_last_of_several_leases_ends_the_wait() {
    loom::model(|| {
        let switch = Arc::new(Switch::new(View::of(1)));
        let readers = [(); 2].map(|()| {
            let lease = switch.lease();
            thread::spawn(move || assert_eq!(lease.read(), 1))
        });
        switch.replace(View::of(2)).when_unused().write(3);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn two_changes_take_back_one_view_each() {
    loom::model(|| {
        let switch = Arc::new(Switch::new(View::of(0)));
        let change = |number: u32| {
            let switch = Arc::clone(&switch);
            move || {
                let before = switch.replace(View::of(number)).when_unused();
                let was = before.read();
                before.write(9);
                was
            }
        };
        let other = thread::spawn(change(1));
        let mine = change(2)();
        let others = other.join().unwrap();
        // One of them took back the first view, the other what the first one had put there.
        let mut all = [mine, others, switch.lease().read()];
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    });
}
