//! `taskvec-device serve --base FOLDER (--unix PATH | --http 127.0.0.1:PORT)`: serves answers and changes until SIGINT or
//! SIGTERM.
//!
//! The committed composition is in force before the door opens, and its changes are committed like those of `attach` and
//! `detach`. Packs come in by `install` and by no request. What can be asked for stands in the README of this crate.

use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use taskvec_runtime::{Composition, Store};
use taskvec_wire::Limits;

use crate::args::{Door, Serve};
use crate::render;
use crate::serve::{Compositions, Guard, Listener, Server, Settings, Token, run as serve};

#[derive(Serialize)]
struct Opened {
    listening: String,
    engine: String,
    composition: Composition,
    /// What was wrong with newer compositions that did not come into force.
    passed_over: Vec<String>,
}

pub(crate) fn run(store: &Path, typed: &Serve, json: bool) -> anyhow::Result<()> {
    let token = typed.token_file.as_deref().map(Token::read).transpose()?;
    let store = Store::open(store)?;
    let session = super::open(&typed.on, store.folder())?;
    let boot = store.boot(&session)?;
    super::warn(&boot);
    let passed_over = super::warnings(&boot);
    let (engine, composition, touched_bytes) = (session.engine(), boot.change.composition, boot.change.touched_bytes);
    let settings = settings(typed);
    let compositions = Compositions::new(store, session, touched_bytes, typed.compositions_max.get());
    let server = Server::new(compositions, Guard { is_http: typed.door.http.is_some(), token }, &settings);
    let opened = |listening: &str| {
        let opened = Opened { listening: listening.to_owned(), engine, composition, passed_over };
        render::result(json, &opened, |opened| {
            format!(
                "listening on {}\nengine {}\ncomposition {}\n{}",
                opened.listening,
                opened.engine,
                opened.composition.digest,
                super::lines(&opened.composition)
            )
        })
    };
    let ended = serve(server, &settings, async || open(&typed.door).await, opened)?;
    render::result(json, &ended, |ended| {
        format!("stopped: {} requests, {} answered, {} abandoned\n", ended.requests, ended.answered, ended.abandoned)
    })
}

async fn open(door: &Door) -> anyhow::Result<Listener> {
    #[cfg(unix)]
    if let Some(path) = &door.unix {
        return Listener::on_unix(path).await;
    }
    match door.http {
        Some(address) => Listener::on_loopback(address).await,
        None => anyhow::bail!("neither a socket nor an address was named"),
    }
}

fn settings(typed: &Serve) -> Settings {
    let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Settings {
        workers: typed.workers.map_or_else(cores, NonZeroUsize::get),
        queue: typed.queue,
        // A u32 fits wherever there is `std`.
        body_bytes_max: typed.body_bytes_max as usize,
        connections_max: typed.connections_max.get(),
        patience: Duration::from_secs(typed.patience),
        limits: Limits { images_max: typed.images_max.get(), ..Limits::default() },
    }
}
