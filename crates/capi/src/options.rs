//! How a session is opened: which engine infers, and how much a composition may take.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;

use taskvec_runtime::{BaseModel, CompositionLimits, Engine, EngineChoice, OrtSettings, PublicKey, Session, Trust};

use crate::engine::taskvec_engine;
use crate::guard::guarded;
use crate::handle::{elements, given, output, path, text};
use crate::status::{taskvec_status, Failure};

/// ONNX Runtime where its library is found and accepts the base, else burn.
pub const TASKVEC_ENGINE_AUTO: u32 = 0;
/// ONNX Runtime.
pub const TASKVEC_ENGINE_ORT: u32 = 1;
/// burn on the CPU: pure Rust, always there in a library that was built with it.
pub const TASKVEC_ENGINE_BURN: u32 = 2;
/// No engine: the session composes weights, which the program reads. Skills are proved to be felt, and no more.
pub const TASKVEC_ENGINE_NONE: u32 = 3;
/// The callbacks in `own`.
pub const TASKVEC_ENGINE_OWN: u32 = 4;

/// An Ed25519 public key: the 64 hexadecimal digits of a public key file, as bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct taskvec_public_key {
    /// The bytes of the key.
    pub bytes: [u8; 32],
}

/// How a session is opened. Start from `taskvec_session_options_default`. Everything in it is looked at during the call
/// only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct taskvec_session_options {
    /// One of `TASKVEC_ENGINE_...`. Default: `TASKVEC_ENGINE_AUTO`.
    pub engine: u32,
    /// The library of ONNX Runtime. Default: NULL, then the variable `ORT_DYLIB_PATH`, the folder of the executable and
    /// Python environments are looked at, in this order.
    pub onnxruntime: *const c_char,
    /// Execution providers of ONNX Runtime by preference, `openvino:GPU,cuda,cpu`: the first is used that is proved on this
    /// device, the CPU's is tried last. Default: NULL, the CPU's alone.
    pub providers: *const c_char,
    /// Threads of one inference of ONNX Runtime, at least 1. Default: 1.
    pub threads: usize,
    /// For `TASKVEC_ENGINE_OWN`. Default: NULL.
    pub own: *const taskvec_engine,
    /// The keys whose signatures make a pack trusted, `key_count` of them. Default: none, so that nobody is trusted.
    pub keys: *const taskvec_public_key,
    /// How many keys there are, at most 64. Default: 0.
    pub key_count: usize,
    /// How many of the keys must have signed a pack. Default: 1.
    pub threshold: usize,
    /// Attach packs that the keys have not signed as well. Whoever can hand in a pack then decides what the model answers.
    /// Default: false.
    pub allows_unsigned: bool,
    /// Skills in force at once. Default: 64.
    pub skills_max: usize,
    /// Bytes of the pages that a composition touches, which is the memory that it owns. Default: no limit.
    pub touched_bytes_max: u64,
    /// Entries of all skills in force together, which bounds the time of a change. Default: 2^34.
    pub entries_max: u64,
    /// Keep the pages of a composition that is no longer in force for the next one, which is then several times faster to
    /// attach. Default: false, they go back to the system.
    pub keeps_pages: bool,
}

/// Writes the defaults to `options`.
#[no_mangle]
pub extern "C" fn taskvec_session_options_default(
    options: Option<&mut MaybeUninit<taskvec_session_options>>,
) -> taskvec_status {
    guarded(|| {
        output(options, "options")?.write(taskvec_session_options::default());
        Ok(())
    })
}

impl Default for taskvec_session_options {
    fn default() -> Self {
        let CompositionLimits { skills_max, touched_bytes_max, entries_max } = CompositionLimits::default();
        Self {
            engine: TASKVEC_ENGINE_AUTO,
            onnxruntime: ptr::null(),
            providers: ptr::null(),
            threads: OrtSettings::default().threads,
            own: ptr::null(),
            keys: ptr::null(),
            key_count: 0,
            threshold: 1,
            allows_unsigned: false,
            skills_max,
            touched_bytes_max,
            entries_max,
            keeps_pages: false,
        }
    }
}

impl taskvec_session_options {
    /// # Safety
    /// - `onnxruntime` and `providers` are NULL or texts, as for [`text`]; `own` is NULL or points to an engine whose description is
    ///   one; `keys` is NULL or points to `key_count` keys.
    pub(crate) unsafe fn open(&self, base: &BaseModel) -> Result<Session, Failure> {
        // SAFETY: the caller's promise is the same.
        let trust = unsafe { self.trust() }?;
        let settings = || {
            // SAFETY: the caller's promise is the same.
            let library = unsafe { self.library() }?;
            let mut settings = OrtSettings { library, threads: self.threads, ..OrtSettings::default() };
            if !self.providers.is_null() {
                // SAFETY: the caller's promise is the same.
                let names = unsafe { text(self.providers, "providers") }?;
                settings.providers = names.split(',').map(str::parse).collect::<Result<_, _>>()?;
            }
            Ok::<_, Failure>(settings)
        };
        let session = match self.engine {
            TASKVEC_ENGINE_AUTO => Session::open(base, &EngineChoice::Auto(settings()?)),
            TASKVEC_ENGINE_ORT => Session::open(base, &EngineChoice::Ort(settings()?)),
            TASKVEC_ENGINE_BURN => Session::open(base, &EngineChoice::Burn),
            TASKVEC_ENGINE_NONE => Session::open(base, &EngineChoice::None),
            TASKVEC_ENGINE_OWN => {
                // SAFETY: the caller's promise is the same.
                let engine = unsafe { self.own_engine() }?;
                Session::with_engine(base, engine)
            }
            unknown => {
                let clause = format!("engine {unknown}, expected 0 to {TASKVEC_ENGINE_OWN}");
                return Err(Failure::new(taskvec_status::Usage, clause)
                    .with_help("start from `taskvec_session_options_default`"));
            }
        }?;
        let limits = CompositionLimits {
            skills_max: self.skills_max,
            touched_bytes_max: self.touched_bytes_max,
            entries_max: self.entries_max,
        };
        let session = session.trusting(trust).with_limits(limits);
        Ok(if self.keeps_pages { session.keeping_pages() } else { session })
    }

    /// # Safety
    /// - As for [`path`].
    unsafe fn library(&self) -> Result<Option<PathBuf>, Failure> {
        if self.onnxruntime.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's promise is the same.
        unsafe { path(self.onnxruntime, "onnxruntime") }.map(|path| Some(path.to_owned()))
    }

    /// # Safety
    /// - `keys` is NULL or points to `key_count` keys.
    unsafe fn trust(&self) -> Result<Trust, Failure> {
        // SAFETY: the caller's promise is the same.
        let keys = unsafe { elements(self.keys, self.key_count, "keys") }?;
        let trust = match keys {
            [] => Trust::default(),
            keys => Trust::in_keys(keys.iter().map(|key| PublicKey(key.bytes)), self.threshold)?,
        };
        Ok(if self.allows_unsigned { trust.and_unsigned_too() } else { trust })
    }

    /// # Safety
    /// - `own` is NULL or points to an engine whose description is NULL or a text.
    unsafe fn own_engine(&self) -> Result<Arc<dyn Engine>, Failure> {
        // SAFETY: NULL or an engine, by the caller's promise.
        let engine = given(unsafe { self.own.as_ref() }, "own")?;
        // SAFETY: the caller's promise is the same.
        unsafe { engine.opened() }
    }
}
