//! What can be asked for, and how each answer is made.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::json;
use taskvec_bundle::softmax;
use taskvec_runtime::{HeadChoice, Logits, Session};
use taskvec_wire::{Change, Kind, Limits, Refusal, Swap, change, checked_name, head, pixels};

use super::Server;
use super::admission::Received;
use super::compositions::{DEFAULT, Edit};
use super::metrics::Page;
use super::refused::{Refused, json as answer};

/// Bytes of a body that asks for a change: 64 skills with long names are a quarter of it.
const CHANGE_BYTES_MAX: usize = 64 << 10;
/// What Prometheus expects.
const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

type Answer = Result<Response, Refused>;

/// Every path. A request is counted, and held against the guard, before any of them.
pub(crate) fn router(server: Arc<Server>) -> Router {
    let guarded = middleware::from_fn_with_state(Arc::clone(&server), count_and_guard);
    Router::new()
        .route("/compositions", get(list))
        .route("/compositions/{name}", get(show).put(put).delete(remove))
        .route("/compositions/{name}/infer", post(infer))
        .route("/compositions/{name}/attach", post(attach))
        .route("/compositions/{name}/detach", post(detach))
        .route("/compositions/{name}/alpha", post(set_alpha))
        .route("/packs", get(packs))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(guarded)
        .with_state(server)
}

async fn count_and_guard(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let begun = server.requests.begin();
    let (parts, body) = request.into_parts();
    let response = match server.guard.admit(&parts) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refusal) => Refused(refusal).into_response(),
    };
    begun.answered(response.status().as_u16());
    response
}

/// The name of a composition, from the path.
struct Named(String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let Path(name) = Path::<String>::from_request_parts(parts, state).await.map_err(|cause| {
            Refusal::usage(format!("the path has no name of a composition: {cause}"))
                .with_help("GET /compositions lists those there are")
        })?;
        Ok(Self(checked_name(&name)?.to_owned()))
    }
}

/// `POST /compositions/NAME/infer?head=NAME`.
async fn infer(State(server): State<Arc<Server>>, Named(name): Named, request: Request) -> Answer {
    let started = Instant::now();
    let served = server.compositions.get(&name)?;
    let on = Arc::clone(&served);
    let answered = async {
        let (parts, body) = request.into_parts();
        let head = head(parts.uri.query())?;
        let received = server.bodies.receive(body, server.body_bytes_max).await?;
        let limits = server.limits.clone();
        server.inferences.work(move || answers(&served.session, &parts, &received, head, &limits)).await?
    };
    match answered.await {
        Ok(answered) => {
            on.counted.inferences.add(1);
            on.counted.images.add(answered.answers.len() as u64);
            on.counted.inference_times.add(started.elapsed());
            Ok(answer(StatusCode::OK, &answered))
        }
        Err(refused) => {
            on.counted.inference_failures.add(1);
            Err(refused)
        }
    }
}

/// What an inference gives.
#[derive(Serialize)]
struct Answered {
    /// Digest of the composition that all answers were computed with.
    composition: String,
    /// One for each image.
    answers: Vec<Classified>,
}

#[derive(Serialize)]
struct Classified {
    class: usize,
    label: String,
    /// The head's share for it, 0 to 1.
    share: f32,
    logits: Vec<f32>,
}

fn answers(
    session: &Session,
    request: &Parts,
    received: &Received,
    head: Option<String>,
    limits: &Limits,
) -> Result<Answered, Refused> {
    let preprocessing = &session.base().pictures()?.preprocessing;
    let asked = pixels(content_type(request), &received.bytes, preprocessing, limits)?;
    let head = head.map_or(HeadChoice::Only, |head| head.parse().map_or(HeadChoice::Named(head), HeadChoice::Skill));
    let logits = session.infer(&asked.values, asked.image_count, &head)?;
    classified(&logits)
}

fn classified(logits: &Logits) -> Result<Answered, Refused> {
    let mut answers = Vec::new();
    for (index, (row, class)) in logits.values.chunks(logits.class_count).zip(logits.classes()).enumerate() {
        let class = class.filter(|_| row.iter().all(|logit| logit.is_finite())).ok_or_else(|| {
            // JSON cannot say them either.
            Refusal::new(422, Kind::Usage, format!("the logits of image {index} are not finite"))
                .with_help("its pixels are beyond anything that the base was trained on")
        })?;
        let (label, share) = (logits.head.labels()[class].clone(), softmax(row)[class]);
        answers.push(Classified { class, label, share, logits: row.to_vec() });
    }
    Ok(Answered { composition: logits.composition.to_string(), answers })
}

/// `POST /compositions/NAME/attach`.
async fn attach(server: State<Arc<Server>>, name: Named, request: Request) -> Answer {
    edit(server, name, request, Edit::Attach).await
}

/// `POST /compositions/NAME/detach`.
async fn detach(server: State<Arc<Server>>, name: Named, request: Request) -> Answer {
    edit(server, name, request, Edit::Detach).await
}

/// `POST /compositions/NAME/alpha`.
async fn set_alpha(server: State<Arc<Server>>, name: Named, request: Request) -> Answer {
    edit(server, name, request, Edit::SetAlpha).await
}

async fn edit<C: Change + Send + 'static>(
    State(server): State<Arc<Server>>,
    Named(name): Named,
    request: Request,
    into_edit: fn(C) -> Edit,
) -> Answer {
    let served = server.compositions.get(&name)?;
    let asked: C = asked(&server, request).await?;
    let on = Arc::clone(&server);
    let changed = server.changes.work(move || on.compositions.change(&served, &into_edit(asked))).await?;
    Ok(answer(StatusCode::OK, &changed?))
}

/// `PUT /compositions/NAME`: swaps everything in force, and makes the composition if there is none.
async fn put(State(server): State<Arc<Server>>, Named(name): Named, request: Request) -> Answer {
    let swap: Swap = asked(&server, request).await?;
    let on = Arc::clone(&server);
    let (change, is_new) = server.changes.work(move || on.compositions.put(&name, swap)).await??;
    Ok(answer(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &change))
}

/// The change in a body.
async fn asked<C: Change>(server: &Server, request: Request) -> Result<C, Refusal> {
    let (parts, body) = request.into_parts();
    let received = server.bodies.receive(body, CHANGE_BYTES_MAX.min(server.body_bytes_max)).await?;
    change(content_type(&parts), &received.bytes, &server.limits)
}

/// `DELETE /compositions/NAME`.
async fn remove(State(server): State<Arc<Server>>, Named(name): Named) -> Answer {
    let on = Arc::clone(&server);
    let removed = name.clone();
    server.changes.work(move || on.compositions.remove(&removed)).await??;
    Ok(answer(StatusCode::OK, &json!({"removed": name})))
}

/// `GET /compositions`.
async fn list(State(server): State<Arc<Server>>) -> Answer {
    Ok(answer(StatusCode::OK, &server.compositions.list()))
}

/// `GET /compositions/NAME`.
async fn show(State(server): State<Arc<Server>>, Named(name): Named) -> Answer {
    Ok(answer(StatusCode::OK, &server.compositions.get(&name)?.listed(name)))
}

/// `GET /packs`.
async fn packs(State(server): State<Arc<Server>>) -> Answer {
    let on = Arc::clone(&server);
    // Opening every pack takes a while.
    let packs = server.changes.work(move || on.compositions.packs()).await??;
    Ok(answer(StatusCode::OK, &packs))
}

/// `GET /healthz`: the process is alive.
async fn healthz() -> Answer {
    Ok(answer(StatusCode::OK, &json!({"status": "alive"})))
}

/// `GET /readyz`: requests are welcome. Once it is asked to stop, the server says no here and answers what it has.
async fn readyz(State(server): State<Arc<Server>>) -> Answer {
    if server.is_stopping() {
        return Err(Refusal::new(503, Kind::Busy, "the server is stopping").into());
    }
    let default = server.compositions.get(DEFAULT)?;
    let composition = default.session.digest().to_string();
    Ok(answer(StatusCode::OK, &json!({"status": "ready", "composition": composition})))
}

/// `GET /metrics`.
async fn metrics(State(server): State<Arc<Server>>) -> Answer {
    let mut page = Page::default();
    page.family("taskvec_info", "gauge", "What serves.");
    let default = server.compositions.get(DEFAULT)?;
    let (base, engine) = (default.session.base(), default.session.engine());
    let (name, fingerprint) = (base.name().to_owned(), base.fingerprint());
    let version = env!("CARGO_PKG_VERSION");
    let labels: [(&str, &dyn std::fmt::Display); 4] =
        [("version", &version), ("base", &name), ("fingerprint", &fingerprint), ("engine", &engine)];
    page.sample("taskvec_info", &labels, 1);
    server.requests.write(&mut page);
    server.compositions.write(&mut page);
    let mut response = Response::new(Body::from(page.into_text()));
    response.headers_mut().insert(header::CONTENT_TYPE, METRICS_TYPE);
    Ok(response)
}

async fn unknown_path(request: Request) -> Answer {
    let clause = format!("there is nothing at `{}`", request.uri().path().escape_debug());
    Err(Refusal::new(404, Kind::Usage, clause)
        .with_help("there is /compositions, /packs, /metrics, /healthz and /readyz")
        .into())
}

async fn wrong_method(request: Request) -> Answer {
    let clause = format!("`{}` does not take {}", request.uri().path().escape_debug(), request.method());
    Err(Refusal::new(405, Kind::Usage, clause).with_help("the header `Allow` says what it takes").into())
}

fn content_type(request: &Parts) -> Option<&str> {
    request.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
}
