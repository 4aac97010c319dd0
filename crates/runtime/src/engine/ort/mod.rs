//! ONNX Runtime: the library, the execution provider that computes, and the tier in which weights reach it.
//!
//! A provider is used if a capability check of it passes on this device (`capability.rs`); else the next tier is tried,
//! then the next provider, and the CPU's at last. What was tried and why it is not used is kept in the report. The CPU
//! provider in its own tier is not checked when it is opened: that inputs take precedence over their defaults is ONNX
//! Runtime's contract, and the CPU provider keeps it. (`check_providers` checks it as well.)

mod agreement;
mod graph;
mod inputs;
mod library;
mod packed;
mod provider;
mod rebuild;
mod runner;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ort::environment::Environment;
use ort::logging::{LogLevel, LoggerFunction};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

#[cfg(feature = "burn")]
pub(super) use self::agreement::compare_with_burn;
pub(super) use self::agreement::compare_with_model;
use self::inputs::Inputs;
use self::packed::Packed;
use self::rebuild::Rebuild;
use self::runner::Runner;
use super::capability::{self, Capability, Depth, Prepares};
use super::report::{ProviderCheck, TierCheck};
use super::{Engine, EngineKind, EngineReport, Fallback, Inference, OrtSettings, Provider, ProviderName, Tier};
use crate::base_model::BaseModel;
use crate::error::{Error, ErrorKind};
use crate::weights::Weights;

/// ONNX Runtime, opened for a base.
pub(super) struct OrtEngine {
    way: Box<dyn Prepares>,
    report: EngineReport,
}

impl OrtEngine {
    /// # Errors
    /// `Unsupported` when no library is found, it is too old, or it refuses the graph on every provider; `Mismatch` when
    /// an editable tensor of the base is no input of the graph.
    pub(super) fn open(settings: &OrtSettings, base: &BaseModel) -> Result<Self, Error> {
        let library = Library::load(settings)?;
        check_graph(base)?;
        let mut fallbacks = Vec::new();
        let mut last = None;
        for provider in settings.providers.iter().chain(implied_cpu(settings)) {
            if !provider::is_in_library(provider.name) {
                let reason = format!("`{}` was built without this execution provider", library.path.display());
                fallbacks.push(Fallback { tried: provider.to_string(), reason });
                continue;
            }
            for tier in tiers(settings, provider) {
                match Self::open_checked(&library, provider, tier, settings, base) {
                    Ok((way, capability)) => {
                        let reason = reason(settings, provider, tier, capability.as_ref());
                        let report = library.report(settings, provider, tier, reason, fallbacks);
                        return Ok(Self { way, report });
                    }
                    Err(cause) => {
                        let tried = in_tier(provider, tier);
                        fallbacks.push(Fallback { tried: tried.clone(), reason: in_one_line(&cause) });
                        last = Some(cause.while_doing(format!("ONNX Runtime on {tried}")));
                    }
                }
            }
        }
        // The CPU provider is in every library, and is tried last.
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::Usage, "no tier of ONNX Runtime to try")))
    }

    fn open_checked(
        library: &Library,
        provider: &Provider,
        tier: Tier,
        settings: &OrtSettings,
        base: &BaseModel,
    ) -> Result<(Box<dyn Prepares>, Option<Capability>), Error> {
        let way = open(library, provider, tier, settings, base)?;
        if provider.name == ProviderName::Cpu && tier == Tier::Inputs {
            return Ok((way, None));
        }
        let capability = capability::check(&*way, base, Depth::OneOfEachShape)?;
        capability.verdict()?;
        Ok((way, Some(capability)))
    }
}

/// The library, ready to be given weights in this way.
fn open(
    library: &Library,
    provider: &Provider,
    tier: Tier,
    settings: &OrtSettings,
    base: &BaseModel,
) -> Result<Box<dyn Prepares>, Error> {
    let place = Place { library: library.clone(), provider: provider.clone(), threads: settings.threads };
    Ok(match tier {
        Tier::Inputs => Box::new(Inputs::open(&place, base)?),
        Tier::BareInputs => Box::new(Inputs::open_bare(&place, base)?),
        Tier::Rebuild => Box::new(Rebuild::open(place, base)?),
        Tier::Packed => Box::new(Packed::open(place, base, settings.packed_folder.as_deref())?),
    })
}

impl Engine for OrtEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Ort
    }

    fn describe(&self) -> String {
        let EngineReport { version, library, threads, provider, tier, .. } = &self.report;
        let version = version.as_deref().unwrap_or("of an unknown version");
        let threads = threads.unwrap_or(1);
        let library = library.as_deref().unwrap_or(Path::new("")).display();
        match (provider, tier) {
            (Some(provider), Some(tier)) if *provider != Provider::CPU || *tier != Tier::Inputs => {
                format!("ONNX Runtime {version} on {}, {threads} threads, {library}", in_tier(provider, *tier))
            }
            _ => format!("ONNX Runtime {version}, {threads} threads, {library}"),
        }
    }

    fn report(&self) -> EngineReport {
        self.report.clone()
    }

    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
        self.way.over(weights)
    }

    fn copies_weights(&self) -> bool {
        self.way.copies_weights()
    }
}

/// What each of `providers` can do on this device with this base; all that the library has, if none is named.
///
/// # Errors
/// As [`OrtEngine::open`] for the library and the graph; what goes wrong with a provider stands in its check.
pub(super) fn check_providers(
    settings: &OrtSettings,
    base: &BaseModel,
    providers: &[Provider],
) -> Result<Vec<ProviderCheck>, Error> {
    let library = Library::load(settings)?;
    check_graph(base)?;
    let all: Vec<Provider>;
    let providers = if providers.is_empty() {
        let found = ProviderName::ALL.into_iter().filter(|&name| provider::is_in_library(name));
        all = found.map(Provider::from).collect();
        &all
    } else {
        providers
    };
    let expected = open(&library, &Provider::CPU, Tier::Inputs, settings, base)
        .and_then(|way| capability::check(&*way, base, Depth::OneOfEachShape))?
        .features;
    let check = |provider: &Provider| {
        let in_library = provider::is_in_library(provider.name);
        let can_pack = *provider == Provider::CPU && settings.packed_folder.is_some();
        let tried = Tier::ALL.into_iter().filter(|&tier| in_library && (can_pack || tier != Tier::Packed));
        let checked: Vec<_> =
            tried.map(|tier| check_tier(&library, provider, tier, settings, base, &expected)).collect();
        // What a session would take: of the tiers in its order, the first that works.
        let works = |tier: &Tier| checked.iter().any(|check| check.tier == *tier && check.problem.is_none());
        let used = tiers(settings, provider).into_iter().find(works);
        let whole_graph = used.map(|tier| takes_the_whole_graph(&library, provider, tier, settings.threads, base));
        let problem = match used {
            Some(_) => None,
            None if !in_library => {
                Some(format!("`{}` was built without this execution provider", library.path.display()))
            }
            None => Some("none of its tiers passes".to_owned()),
        };
        ProviderCheck { provider: provider.clone(), in_library, tiers: checked, used, whole_graph, problem }
    };
    Ok(providers.iter().map(check).collect())
}

/// As [`OrtSettings::check`].
pub(super) fn check_library(settings: &OrtSettings) -> Result<(), Error> {
    Library::load(settings).map(drop)
}

fn check_tier(
    library: &Library,
    provider: &Provider,
    tier: Tier,
    settings: &OrtSettings,
    base: &BaseModel,
    expected: &[f32],
) -> TierCheck {
    let started = Instant::now();
    let checked = open(library, provider, tier, settings, base).and_then(|way| {
        let open_ms = started.elapsed().as_secs_f64() * 1e3;
        Ok((open_ms, capability::check(&*way, base, Depth::EveryTensor)?))
    });
    match checked {
        Err(cause) => TierCheck::failed(tier, in_one_line(&cause)),
        Ok((open_ms, capability)) => TierCheck {
            tier,
            felt: capability.felt(),
            restored: capability.restored,
            tensors: capability.tensors,
            unfelt: capability.unfelt.clone(),
            difference_from_cpu_max: Some(difference(&capability.features, expected)),
            open_ms: Some(open_ms),
            prepare_ms: Some(capability.prepare_ms),
            infer_ms: Some(capability.infer_ms),
            problem: capability.verdict().err().map(|cause| in_one_line(&cause)),
        },
    }
}

/// Whether the provider computes every node, so that nothing is left to the CPU's.
fn takes_the_whole_graph(library: &Library, provider: &Provider, tier: Tier, threads: usize, base: &BaseModel) -> bool {
    if provider.name == ProviderName::Cpu {
        return true;
    }
    let place = Place { library: library.clone(), provider: provider.clone(), threads };
    let graph = read_graph(base).and_then(|bytes| match tier {
        Tier::Inputs => Ok(bytes),
        Tier::BareInputs => graph::bare_inputs(&bytes, base),
        Tier::Rebuild | Tier::Packed => graph::constants(&bytes, base),
    });
    let Ok(graph) = graph else { return false };
    let builder = place.builder().and_then(|builder| Ok(builder.with_disable_cpu_fallback()?));
    builder.and_then(|builder| runner::commit_from_memory(builder, &graph, base.bytes(), base.bytes())).is_ok()
}

/// The largest distance between two answers: 0 between what is the same, infinite between a number and none.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    let apart = |(found, expected): (&f32, &f32)| match (found - expected).abs() {
        _ if found == expected || found.is_nan() && expected.is_nan() => 0.0,
        // `f32::max` would leave it out.
        apart if apart.is_nan() => f32::INFINITY,
        apart => apart,
    };
    found.iter().zip(expected).map(apart).fold(0.0, f32::max)
}

/// A failure as a reason. What a library says may go over several lines.
fn in_one_line(cause: &Error) -> String {
    cause.chain().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn in_tier(provider: &Provider, tier: Tier) -> String {
    format!("{provider} ({})", tier.as_str())
}

/// The tiers to try, in order. The packed one is a wish that may not come true.
fn tiers(settings: &OrtSettings, provider: &Provider) -> Vec<Tier> {
    match settings.tier {
        Some(Tier::Packed) => [&[Tier::Packed], provider.name.tiers()].concat(),
        Some(tier) => vec![tier],
        None => provider.name.tiers().to_vec(),
    }
}

fn reason(settings: &OrtSettings, provider: &Provider, tier: Tier, capability: Option<&Capability>) -> String {
    let asked = match settings.providers.iter().position(|wanted| wanted == provider) {
        Some(0) => "the first choice",
        Some(_) => "the first of those asked for that works",
        None => "none of those asked for works",
    };
    let tier = if settings.tier == Some(tier) { "the tier asked for" } else { "the provider's first tier that works" };
    match capability {
        None => format!("{asked}; a graph input takes precedence over its default by ONNX Runtime's contract"),
        Some(capability) => {
            format!("{asked}; {tier}: changes of {} tensors were felt and undone here", capability.tensors)
        }
    }
}

/// The CPU provider, unless it is asked for anyway.
fn implied_cpu(settings: &OrtSettings) -> Option<&'static Provider> {
    static CPU: Provider = Provider::CPU;
    (!settings.providers.contains(&CPU)).then_some(&CPU)
}

fn check_graph(base: &BaseModel) -> Result<(), Error> {
    let graph = base.graph_path();
    if graph.is_file() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Damaged, format!("the base has no `{}`", graph.display()))
        .with_help("copy the bundle again, or use the burn engine"))
}

fn read_graph(base: &BaseModel) -> Result<Vec<u8>, Error> {
    let path = base.graph_path();
    fs::read(&path).map_err(|cause| Error::io("read", &path, cause))
}

/// Where sessions are made, and with which settings.
#[derive(Clone)]
struct Place {
    library: Library,
    provider: Provider,
    threads: usize,
}

impl Place {
    fn builder(&self) -> ort::Result<SessionBuilder> {
        self.library.said.take();
        let builder = Session::builder(&self.library.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(self.threads)?
            .with_inter_threads(1)?
            .with_deterministic_compute(true)?
            // A warning for each initializer that is also an input says what we do on purpose.
            .with_log_level(LogLevel::Error)?;
        provider::register(builder, &self.provider, self.threads)
    }

    fn runner(&self, session: Session, base: &BaseModel) -> Result<Runner, Error> {
        Runner::new(session, base.interface(), !self.provider.name.computes_for_several())
    }

    fn refuses(&self, base: &BaseModel, cause: ort::Error) -> Error {
        let graph = base.graph_path();
        let on = if self.provider == Provider::CPU { String::new() } else { format!(" on {}", self.provider) };
        let error = Error::new(ErrorKind::Unsupported, format!("ONNX Runtime refuses `{}`{on}", graph.display()));
        match self.library.said.take() {
            Some(words) if !cause.message().contains(&words) => error.with_source(format!("{cause}: {words}")),
            _ => error.with_source(cause),
        }
    }
}

/// The one library that a process may have.
#[derive(Clone)]
struct Library {
    environment: Environment,
    path: PathBuf,
    said: LastWords,
}

/// The last error that the library has logged: what it returns often says no more than that something has failed.
#[derive(Clone, Default)]
struct LastWords(Arc<Mutex<Option<String>>>);

impl LastWords {
    /// What the library calls with its log, in the place of its own writing to stderr. What is not an error is dropped;
    /// so are errors during a run, whose cause is in what the run returns.
    fn listener(&self) -> LoggerFunction {
        let words = self.clone();
        Arc::new(move |level, _, _, _, message| {
            if matches!(level, LogLevel::Error | LogLevel::Fatal) {
                // Providers put the place in their sources in front of what has happened.
                let message = message.rsplit("[ERROR]").next().unwrap_or(message).trim();
                *words.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(message.to_owned());
            }
        })
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

static LOADED: Mutex<Option<Library>> = Mutex::new(None);

impl Library {
    /// Loads the library at the first call; later calls get the same one.
    fn load(settings: &OrtSettings) -> Result<Self, Error> {
        if settings.threads == 0 {
            return Err(Error::new(ErrorKind::Usage, "0 threads for ONNX Runtime, expected at least 1"));
        }
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(library), None) = (&*loaded, &settings.library) {
            return Ok(library.clone());
        }
        let path = library::find(settings)?;
        if let Some(library) = &*loaded {
            let first = &library.path;
            if same_file(&path, first) {
                return Ok(library.clone());
            }
            let clause = format!("`{}` cannot be loaded: this process runs on `{}`", path.display(), first.display());
            return Err(Error::new(ErrorKind::Usage, clause)
                .with_help("a process has one ONNX Runtime; name the library when the first session is opened"));
        }
        let refused = || {
            Error::new(ErrorKind::Unsupported, format!("`{}` cannot be used as ONNX Runtime", path.display()))
                .with_help(format!(
                    "ONNX Runtime 1.{} or newer is needed: `pip install -U onnxruntime`",
                    ort::MINOR_VERSION
                ))
        };
        let said = LastWords::default();
        let environment = ort::init_from(&path)
            .map_err(|cause| refused().with_source(cause.to_string()))?
            .with_name("taskvec")
            .with_telemetry(false)
            .with_logger(said.listener())
            .build()
            .map_err(|cause| refused().with_source(cause))?;
        environment.set_log_level(LogLevel::Error);
        let library = Self { environment, path, said };
        *loaded = Some(library.clone());
        Ok(library)
    }

    fn report(
        &self,
        settings: &OrtSettings,
        provider: &Provider,
        tier: Tier,
        reason: String,
        fallbacks: Vec<Fallback>,
    ) -> EngineReport {
        EngineReport {
            version: version_of(&self.path),
            library: Some(self.path.clone()),
            threads: Some(settings.threads),
            provider: Some(provider.clone()),
            tier: Some(tier),
            reason,
            fallbacks,
            ..EngineReport::named("ONNX Runtime")
        }
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// What the library says of itself: "git-branch=..., build type=..." has no version, its file name mostly has.
fn version_of(library: &Path) -> Option<String> {
    let real = library.canonicalize().unwrap_or_else(|_| library.to_owned());
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let version: Vec<_> = name.split('.').filter(|part| part.bytes().all(|byte| byte.is_ascii_digit())).collect();
    (!version.is_empty()).then(|| version.join("."))
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn what_is_no_number_differs_from_a_number() {
        const NAN: f32 = f32::NAN;
        const INFINITE: f32 = f32::INFINITY;
        for (found, expected, apart) in [
            ([1.0, 2.0], [1.0, 2.5], 0.5),
            ([NAN, 2.0], [1.0, 2.5], INFINITE),
            ([1.0, 2.0], [1.0, NAN], INFINITE),
            ([-INFINITE, 2.0], [INFINITE, 2.0], INFINITE),
            ([-INFINITE, NAN], [-INFINITE, NAN], 0.0),
        ] {
            assert_eq!(difference(&found, &expected), apart, "{found:?} {expected:?}");
        }
    }
}
