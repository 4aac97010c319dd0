//! Serving: answers and changes over HTTP/1.1, from one thread for the sockets and a few for the work.
//!
//! What is decided here:
//!
//! - **The thread of the sockets never computes.** Bodies are parsed, images decoded and inferences made on other threads;
//!   how many at once and how many may wait is bounded, and who finds no room is told so with 503.
//! - **Slow clients hold little.** A head, a body and the taking of an answer each have a time; a body takes room as it
//!   arrives; nobody holds a worker before his body is complete.
//! - **Only what is installed can be attached.** No pack comes in by this door, so whoever may ask for answers cannot bring
//!   in weights; `taskvec-device install` does that, with its own checks.
//! - **Stopping is not failing.** On SIGINT or SIGTERM the door closes, and whoever was let in gets his answer.

mod admission;
mod compositions;
mod connections;
mod guard;
mod listener;
mod metrics;
mod refused;
mod routes;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use taskvec_wire::Limits;

use self::admission::{Bodies, Lane};
use self::metrics::Requests;

pub(crate) use self::compositions::Compositions;
pub(crate) use self::connections::run;
pub(crate) use self::guard::{Guard, Token};
pub(crate) use self::listener::Listener;

/// Bodies of the largest size for which there is room at once.
const BODIES_MAX: usize = 4;
/// Changes that may wait for the one that is made.
const CHANGES_QUEUE: usize = 16;

/// How much is served at once. The defaults are those of the command line.
pub(crate) struct Settings {
    /// Inferences at once.
    pub(crate) workers: usize,
    /// Inferences that may wait.
    pub(crate) queue: usize,
    /// Bytes of one body.
    pub(crate) body_bytes_max: usize,
    /// Connections at once.
    pub(crate) connections_max: usize,
    /// For a head, for a body, and for the taking of an answer.
    pub(crate) patience: Duration,
    /// Of one request.
    pub(crate) limits: Limits,
}

/// What all requests share.
pub(crate) struct Server {
    compositions: Compositions,
    guard: Guard,
    limits: Limits,
    body_bytes_max: usize,
    bodies: Bodies,
    inferences: Lane,
    changes: Lane,
    requests: Requests,
    is_stopping: AtomicBool,
}

/// What became of all requests.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    /// Requests that came in.
    pub(crate) requests: u64,
    /// Those that were answered, with whatever status.
    pub(crate) answered: u64,
    /// Those whose client went away before its answer.
    pub(crate) abandoned: u64,
}

impl Server {
    pub(crate) fn new(compositions: Compositions, guard: Guard, settings: &Settings) -> Self {
        let body_bytes_max = settings.body_bytes_max;
        Self {
            compositions,
            guard,
            limits: settings.limits.clone(),
            body_bytes_max,
            bodies: Bodies::new(body_bytes_max.saturating_mul(BODIES_MAX), settings.patience),
            inferences: Lane::new(settings.workers, settings.queue, "as many inferences as may wait are waiting"),
            changes: Lane::new(1, CHANGES_QUEUE, "as many changes as may wait are waiting"),
            requests: Requests::default(),
            is_stopping: AtomicBool::new(false),
        }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    fn ended(&self) -> Ended {
        let requests = &self.requests;
        Ended { requests: requests.begun(), answered: requests.answered(), abandoned: requests.abandoned() }
    }
}
