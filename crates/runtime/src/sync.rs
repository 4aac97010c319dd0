//! The primitives that `switch.rs` is made of; under the model checker, the checker's own stand in their place.

pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
