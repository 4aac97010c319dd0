//! Who may come in, and how much room there is: bodies in memory, and work on other threads than the one of the sockets.
//!
//! A body holds room for the bytes that have arrived, not for those that are announced, and holds no seat while it
//! arrives: clients that send slowly keep nobody from being answered. Work is done in lanes: a lane has workers and seats
//! to wait on, and whoever finds no seat is told at once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use http_body_util::BodyExt as _;
use taskvec_wire::{Kind, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::refused::busy;

/// Room for the bodies of requests.
pub(crate) struct Bodies {
    room: Arc<Semaphore>,
    patience: Duration,
}

/// A body that has arrived. Its room is given back with it.
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    room: Vec<OwnedSemaphorePermit>,
}

impl Bodies {
    /// Room for `bytes_max` in all; each body must arrive within `patience`.
    pub(crate) fn new(bytes_max: usize, patience: Duration) -> Self {
        Self { room: Arc::new(Semaphore::new(bytes_max)), patience }
    }

    /// Waits for the whole body.
    ///
    /// # Errors
    /// Status 413 when it is longer than `bytes_max`, 503 when there is no room, 408 when it is late, 400 when it is cut.
    pub(crate) async fn receive(&self, body: Body, bytes_max: usize) -> Result<Received, Refusal> {
        let too_long = || {
            Refusal::limit(format!("the body has more than the {bytes_max} bytes that are allowed"))
                .with_help("ask for fewer images at once, or serve with a larger `--body-bytes-max`")
        };
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(too_long());
        }
        timeout(self.patience, self.collect(body, bytes_max, too_long)).await.unwrap_or_else(|_| {
            let clause = format!("the body did not arrive within {} s", self.patience.as_secs());
            Err(Refusal::new(408, Kind::Usage, clause)
                .with_help("send it at once, or serve with a larger `--patience`"))
        })
    }

    async fn collect(
        &self,
        mut body: Body,
        bytes_max: usize,
        too_long: impl Fn() -> Refusal,
    ) -> Result<Received, Refusal> {
        let mut received = Received { bytes: Vec::new(), room: Vec::new() };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|cause| Refusal::usage(format!("the body was cut off: {cause}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > bytes_max - received.bytes.len() {
                return Err(too_long());
            }
            // A frame is what one read of a socket gave.
            let count = u32::try_from(data.len()).map_err(|_| too_long())?;
            let room = Arc::clone(&self.room).try_acquire_many_owned(count);
            received.hold(room.map_err(|_| busy("there is no room for another body"))?);
            received.bytes.extend_from_slice(&data);
        }
        Ok(received)
    }
}

impl Received {
    /// One permit for all frames: a body of many small ones must not cost more than its bytes.
    fn hold(&mut self, room: OwnedSemaphorePermit) {
        match self.room.first_mut() {
            Some(held) => held.merge(room),
            None => self.room.push(room),
        }
    }
}

/// Workers for one sort of work, and seats to wait on.
pub(crate) struct Lane {
    /// One for each worker, and those to wait on.
    seats: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    full: &'static str,
}

impl Lane {
    /// `full` is what the one is told who finds no seat.
    pub(crate) fn new(workers: usize, queue: usize, full: &'static str) -> Self {
        let seats = workers.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        Self { seats: Arc::new(Semaphore::new(seats)), workers: Arc::new(Semaphore::new(workers)), full }
    }

    /// Does `work` on a thread where it may block. Once begun, it goes on to its end and keeps its worker, even when
    /// nobody waits for the answer any more.
    ///
    /// # Errors
    /// Status 503 when no seat is free, 500 when `work` panics.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let seat = Arc::clone(&self.seats).try_acquire_owned().map_err(|_| busy(self.full))?;
        // Nobody closes this semaphore.
        let worker = Arc::clone(&self.workers).acquire_owned().await.map_err(|_| busy(self.full))?;
        let done = tokio::task::spawn_blocking(move || {
            let value = work();
            drop((seat, worker));
            value
        });
        done.await.map_err(|_| {
            Refusal::new(500, Kind::Io, "the work on this request panicked")
                .with_help("this is a bug: please report it")
        })
    }
}
