//! What serves now, and how something else takes its place while it is in use.
//!
//! Users take a [`Lease`] on what serves at that moment and keep it for as long as they need; a replacement is seen by
//! the leases that are taken after it. Whoever replaced something gets it back, for itself alone, once its last lease
//! has ended. Nobody waits but the one who replaces, and only for leases that began before: so requests never wait for
//! a change, a change waits for the requests under way, and what is taken back has no user left.
//!
//! This file is the whole of the crate's concurrency. The package in `tests/model` runs it under a model checker, which
//! tries every order in which threads can meet here; therefore it takes its primitives from `super::sync`.

use std::ops::Deref;

use super::sync::{Arc, Condvar, Mutex, MutexGuard};

/// A value that serves many threads and can be replaced under them.
pub(crate) struct Switch<T> {
    serving: Mutex<Held<T>>,
}

/// A value and those who use it.
struct Held<T> {
    value: Arc<T>,
    users: Arc<Users>,
}

impl<T> Held<T> {
    fn new(value: Arc<T>) -> Self {
        Self { value, users: Arc::new(Users { count: Mutex::new(0), none_left: Condvar::new() }) }
    }
}

/// How many leases there are on one value.
struct Users {
    count: Mutex<usize>,
    none_left: Condvar,
}

impl<T> Switch<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self { serving: Mutex::new(Held::new(value)) }
    }

    /// The value that serves now, for as long as the lease lives.
    pub(crate) fn lease(&self) -> Lease<T> {
        let serving = held(&self.serving);
        // Counted before the lock is given up: a replacement that comes next finds this user.
        *held(&serving.users.count) += 1;
        Lease { value: Arc::clone(&serving.value), _use: Use { users: Arc::clone(&serving.users) } }
    }

    /// Lets `value` serve from now on, and gives back what served before, with the leases that are still on it.
    pub(crate) fn replace(&self, value: Arc<T>) -> Replaced<T> {
        let mut serving = held(&self.serving);
        Replaced { held: std::mem::replace(&mut *serving, Held::new(value)) }
    }
}

/// What no longer serves, and may still be in use.
pub(crate) struct Replaced<T> {
    held: Held<T>,
}

impl<T> Replaced<T> {
    /// Waits until the last lease has ended. Then no reference is left that came from the switch.
    pub(crate) fn when_unused(self) -> Arc<T> {
        let Held { value, users } = self.held;
        let mut count = held(&users.count);
        while *count > 0 {
            count = users.none_left.wait(count).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        drop(count);
        value
    }
}

/// The use of a value that served when the lease was taken.
pub(crate) struct Lease<T> {
    // Dropped in this order: the reference is gone when the use ends.
    value: Arc<T>,
    _use: Use,
}

impl<T> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

struct Use {
    users: Arc<Users>,
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut count = held(&self.users.count);
        *count -= 1;
        if *count == 0 {
            self.users.none_left.notify_all();
        }
    }
}

/// The lock. No code of others runs under one of these locks, so that a panic cannot leave them half changed.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
