//! Where clients knock: a Unix socket that only its owner may open, or a port on the loopback.

use std::io;
use std::net::SocketAddr;

use anyhow::Context as _;
use taskvec_runtime::{Error, ErrorKind};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use {
    std::fs::{self, Metadata},
    std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    std::path::{Path, PathBuf},
    tokio::net::{UnixListener, UnixStream},
};

/// A door that is open.
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, SocketFile),
}

/// Somebody who came in.
pub(crate) enum Accepted {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Listener {
    /// Listens on a port of the loopback.
    ///
    /// Any other address is refused, with a token or without: a token that travels over a network without TLS can be read
    /// on the way, and TLS is not this program's job.
    ///
    /// # Errors
    /// `Usage` for another address than the loopback's, and what the system says.
    pub(crate) async fn on_loopback(address: SocketAddr) -> anyhow::Result<Self> {
        if !address.ip().is_loopback() {
            let clause = format!("address {address} is not the loopback");
            return Err(Error::new(ErrorKind::Usage, clause)
                .with_help("serve on 127.0.0.1 or on a Unix socket, and put a proxy with TLS and a login before it")
                .into());
        }
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        Ok(Self::Tcp(listener))
    }

    /// Listens on a Unix socket with mode 600. One that a dead server has left is replaced.
    ///
    /// # Errors
    /// `Usage` when something else is at `path` or a server listens there, and what the system says.
    #[cfg(unix)]
    pub(crate) async fn on_unix(path: &Path) -> anyhow::Result<Self> {
        check_free(path).await?;
        // In a folder of its own (mode 700, which `tempfile` promises) nobody can open it before it has its own mode; the new
        // name then replaces what a dead server has left.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let refused = || format!("make socket `{}`", path.display());
        let aside = tempfile::tempdir_in(parent).with_context(refused)?;
        let (listener, file) = bind_aside(&aside.path().join("s"), path).with_context(refused)?;
        Ok(Self::Unix(listener, file))
    }

    /// How a client finds it.
    pub(crate) fn address(&self) -> io::Result<String> {
        Ok(match self {
            Self::Tcp(listener) => format!("http://{}", listener.local_addr()?),
            #[cfg(unix)]
            Self::Unix(_, file) => format!("unix:{}", file.path.display()),
        })
    }

    /// The next who comes in.
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        Ok(match self {
            Self::Tcp(listener) => Accepted::Tcp(listener.accept().await?.0),
            #[cfg(unix)]
            Self::Unix(listener, _) => Accepted::Unix(listener.accept().await?.0),
        })
    }

    /// Closes the door. Those who stand in it already come in: to them the connection is made.
    pub(crate) fn close(self) -> io::Result<Vec<Accepted>> {
        let mut accepted = Vec::new();
        match self {
            Self::Tcp(listener) => {
                let listener = listener.into_std()?;
                while let Some((stream, _)) = unless_it_would_wait(listener.accept())? {
                    stream.set_nonblocking(true)?;
                    accepted.push(Accepted::Tcp(TcpStream::from_std(stream)?));
                }
            }
            #[cfg(unix)]
            Self::Unix(listener, file) => {
                file.remove();
                let listener = listener.into_std()?;
                while let Some((stream, _)) = unless_it_would_wait(listener.accept())? {
                    stream.set_nonblocking(true)?;
                    accepted.push(Accepted::Unix(UnixStream::from_std(stream)?));
                }
            }
        }
        Ok(accepted)
    }
}

fn unless_it_would_wait<T>(accepted: io::Result<T>) -> io::Result<Option<T>> {
    match accepted {
        Ok(accepted) => Ok(Some(accepted)),
        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// The file of a socket, which goes when the server stops.
#[cfg(unix)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and number of its inode.
    identity: (u64, u64),
}

#[cfg(unix)]
impl SocketFile {
    /// Removes it, if it is still ours: another server may have taken the name.
    fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| identity(&metadata) == self.identity) {
            // Nothing depends on it: the next server replaces a socket on which nobody listens.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(unix)]
fn bind_aside(aside: &Path, path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let listener = UnixListener::bind(aside)?;
    fs::set_permissions(aside, fs::Permissions::from_mode(0o600))?;
    let identity = identity(&fs::symlink_metadata(aside)?);
    fs::rename(aside, path)?;
    Ok((listener, SocketFile { path: path.to_owned(), identity }))
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Nothing is at `path`, or a socket on which nobody listens.
#[cfg(unix)]
async fn check_free(path: &Path) -> anyhow::Result<()> {
    let taken = |clause: String, help: &str| Err(Error::new(ErrorKind::Usage, clause).with_help(help).into());
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(cause).with_context(|| format!("look at `{}`", path.display())),
    };
    if !metadata.file_type().is_socket() {
        return taken(format!("`{}` is there and is no socket", path.display()), "name another path");
    }
    if UnixStream::connect(path).await.is_ok() {
        return taken(format!("a server listens on `{}` already", path.display()), "stop it, or name another path");
    }
    Ok(())
}
