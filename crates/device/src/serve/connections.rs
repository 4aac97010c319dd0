//! The loop that lets connections in, and how it ends.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;

use super::listener::{Accepted, Listener};
use super::routes::router;
use super::{Ended, Server, Settings};

/// Bytes of a request's head: a hundred times what a client needs.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Lines of a request's head.
const HEADERS_MAX: usize = 64;
/// When the system has no more file handles, it has some again as soon as a connection ends.
const PAUSE_WITHOUT_HANDLES: Duration = Duration::from_millis(50);

/// Opens the door, says so to `opened`, and serves until SIGINT or SIGTERM. Then the door closes, and everybody who was let
/// in gets his answer. A second signal ends it at once.
///
/// # Errors
/// When the door cannot be opened, what `opened` returns, or when a second signal came.
pub(crate) fn run(
    server: Server,
    settings: &Settings,
    open: impl AsyncFnOnce() -> anyhow::Result<Listener>,
    opened: impl FnOnce(&str) -> anyhow::Result<()>,
) -> anyhow::Result<Ended> {
    // One thread for the sockets; beside the workers one for a change.
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(settings.workers.saturating_add(1))
        .build()
        .context("start the thread of the sockets")?;
    let server = Arc::new(server);
    let ended = runtime.block_on(async {
        let mut signals = Signals::new().context("listen for signals")?;
        let listener = open().await?;
        opened(&listener.address().context("read the address of the socket")?)?;
        let door = Door::new(&server, settings);
        door.serve(&listener, &mut signals).await;
        server.is_stopping.store(true, Ordering::Relaxed);
        tokio::select! {
            closed = door.close(listener) => closed.context("close the socket"),
            () = signals.next() => Err(anyhow::anyhow!("a second signal came before every request was answered")),
        }
    });
    // Work that goes on for nobody must not hold up the end.
    runtime.shutdown_background();
    ended.map(|()| server.ended())
}

/// What it takes to let somebody in.
struct Door {
    router: Router,
    http: http1::Builder,
    /// One for each connection.
    places: Arc<Semaphore>,
    /// Says to each connection that the door is closed; each holds a receiver of it to its end.
    closing: watch::Sender<()>,
    patience: Duration,
}

impl Door {
    fn new(server: &Arc<Server>, settings: &Settings) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(settings.patience)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX);
        Self {
            router: router(Arc::clone(server)),
            http,
            places: Arc::new(Semaphore::new(settings.connections_max.min(Semaphore::MAX_PERMITS))),
            closing: watch::Sender::new(()),
            patience: settings.patience,
        }
    }

    /// Lets connections in until a signal comes.
    async fn serve(&self, listener: &Listener, signals: &mut Signals) {
        loop {
            let next = async {
                // Whoever finds no place stays in the system's queue.
                let place = Arc::clone(&self.places).acquire_owned().await.ok();
                (listener.accept().await, place)
            };
            tokio::select! {
                (accepted, place) = next => match accepted {
                    Ok(accepted) => self.let_in(accepted, place),
                    Err(cause) if is_of_the_connection(&cause) => {}
                    Err(_) => sleep(PAUSE_WITHOUT_HANDLES).await,
                },
                () = signals.next() => return,
            }
        }
    }

    /// Lets in those who stand in the door, closes it, and waits until everybody has gone.
    async fn close(self, listener: Listener) -> io::Result<()> {
        for accepted in listener.close()? {
            self.let_in(accepted, None);
        }
        self.closing.send_replace(());
        self.closing.closed().await;
        Ok(())
    }

    fn let_in(&self, accepted: Accepted, place: Option<OwnedSemaphorePermit>) {
        match accepted {
            Accepted::Tcp(stream) => {
                // Answers are small and go out at once; if the system refuses, they go out a little later.
                let _ = stream.set_nodelay(true);
                self.attend(stream, place);
            }
            #[cfg(unix)]
            Accepted::Unix(stream) => self.attend(stream, place),
        }
    }

    /// Answers the requests of one connection, on a task of its own. Once the door is closed, this ends after the request
    /// that is being answered, or else after the first: whoever was let in may ask once.
    fn attend<S: AsyncRead + AsyncWrite + Send + 'static>(&self, stream: S, place: Option<OwnedSemaphorePermit>) {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.patience));
        let has_asked = Arc::new(Notify::new());
        let asking = Arc::clone(&has_asked);
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |request| {
            asking.notify_one();
            router.call(request)
        });
        let connection = self.http.serve_connection(TokioIo::new(Box::pin(stream)), service);
        let mut closing = self.closing.subscribe();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let last_request = async {
                // The other end is held by those who wait for this task.
                let _ = closing.changed().await;
                has_asked.notified().await;
            };
            // A client that breaks off, or that says no HTTP, was told so if it listened.
            tokio::select! {
                _ = connection.as_mut() => {}
                () = last_request => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
            drop((closing, place));
        });
    }
}

/// Failures of `accept` that say something about one client and not about this process.
fn is_of_the_connection(cause: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(cause.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// SIGINT and SIGTERM, from the moment that this is made.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // Without the signal the server can still be ended by its process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
