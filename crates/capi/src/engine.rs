//! An engine of the caller's own: callbacks that turn pixels into features.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::Arc;

use taskvec_runtime::{Engine, EngineKind, Error, ErrorKind, Inference, Weights};

use crate::handle::{text, User};
use crate::status::Failure;
use crate::weights::taskvec_weights;

/// Gets the caller's library ready to infer with `weights`, which stay as they are until `done` is called; whatever
/// `inference` is set to comes back in the other callbacks. Returns 0, or a number of the caller's that goes into the
/// message of the failure.
pub type taskvec_engine_over =
    Option<extern "C" fn(user: *mut c_void, weights: &taskvec_weights, inference: *mut *mut c_void) -> i32>;

/// Computes features. `pixels` holds `batch` inputs, `[batch, channel, row, column]`; `features` has room for
/// `feature_count` numbers, `[batch, feature]`, all of which must be written. May be called by several threads at once.
/// Returns 0, or a number of the caller's that goes into the message of the failure.
pub type taskvec_engine_features = Option<
    extern "C" fn(
        user: *mut c_void,
        inference: *mut c_void,
        weights: &taskvec_weights,
        pixels: *const f32,
        pixel_count: usize,
        batch: usize,
        features: *mut f32,
        feature_count: usize,
    ) -> i32,
>;

/// Ends what `over` began: the weights it was given are no longer good when this returns.
pub type taskvec_engine_done = Option<extern "C" fn(user: *mut c_void, inference: *mut c_void)>;

/// Callbacks by which a session infers. They may be called by every thread that uses a session on this engine, also by
/// several at once, until the last of these sessions is closed. They must not attach, detach, swap or weigh in it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct taskvec_engine {
    /// Given to each callback, and not looked at.
    pub user: *mut c_void,
    /// The library, its version and its settings, for people; copied.
    pub description: *const c_char,
    /// The number under which packs list how exact their probes are on this engine: 1 for ONNX Runtime, 0 for any
    /// engine that a pack does not list.
    pub kind: u16,
    /// May be NULL: then `inference` is NULL in the other callbacks.
    pub over: taskvec_engine_over,
    /// Must not be NULL.
    pub features: taskvec_engine_features,
    /// May be NULL.
    pub done: taskvec_engine_done,
}

/// The caller's library, opened.
#[derive(Clone)]
struct Callbacks {
    user: User,
    kind: EngineKind,
    description: Arc<str>,
    over: taskvec_engine_over,
    features:
        extern "C" fn(*mut c_void, *mut c_void, &taskvec_weights, *const f32, usize, usize, *mut f32, usize) -> i32,
    done: taskvec_engine_done,
}

/// The caller's library over the weights of one composition.
struct Ready {
    callbacks: Callbacks,
    inference: User,
    /// At an address that stays, since the caller has been given it.
    weights: Box<taskvec_weights>,
    feature_width: usize,
}

impl taskvec_engine {
    /// # Safety
    /// - The description is NULL or a text, as for [`text`].
    pub(crate) unsafe fn opened(&self) -> Result<Arc<dyn Engine>, Failure> {
        // SAFETY: the caller's promise is the same.
        let description = unsafe { text(self.description, "description") }?.into();
        let features = self.features.ok_or_else(|| Failure::null("features"))?;
        let (user, kind) = (User(self.user), EngineKind::from_code(self.kind));
        Ok(Arc::new(Callbacks { user, kind, description, over: self.over, features, done: self.done }))
    }
}

impl Engine for Callbacks {
    fn kind(&self) -> EngineKind {
        self.kind
    }

    fn describe(&self) -> String {
        self.description.as_ref().to_owned()
    }

    fn over(&self, weights: &Weights) -> Result<Box<dyn Inference>, Error> {
        let base = weights.base();
        let weights = Box::new(taskvec_weights::of(base, weights.reader()));
        let mut inference = ptr::null_mut();
        if let Some(over) = self.over {
            match over(self.user.0, &weights, &mut inference) {
                0 => {}
                number => return Err(self.refused("over", number)),
            }
        }
        let (callbacks, inference) = (self.clone(), User(inference));
        Ok(Box::new(Ready { callbacks, inference, weights, feature_width: base.pictures()?.feature_width() }))
    }
}

impl Callbacks {
    fn refused(&self, callback: &str, number: i32) -> Error {
        let clause =
            format!("the callback `{callback}` of engine `{}` returned {number}, expected 0", self.description);
        Error::new(ErrorKind::Unsupported, clause).with_help("the number is the program's own: look there")
    }
}

impl Inference for Ready {
    fn features(&self, pixels: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        // NaN, so that numbers that the callback forgets are noticed.
        let mut features = vec![f32::NAN; self.feature_width.saturating_mul(batch)];
        let Callbacks { user, features: compute, .. } = &self.callbacks;
        let (pixels, count) = (pixels.as_ptr(), pixels.len());
        let (room, width) = (features.as_mut_ptr(), features.len());
        match compute(user.0, self.inference.0, &self.weights, pixels, count, batch, room, width) {
            0 => Ok(features),
            number => Err(self.callbacks.refused("features", number)),
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        if let Some(done) = self.callbacks.done {
            done(self.callbacks.user.0, self.inference.0);
        }
    }
}
