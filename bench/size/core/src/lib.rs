//! The core of taskvec without a standard library, a heap or files: check a pack, add it to tensors in memory.
//!
//! Everything that a pack can hold is here, so that nothing is left out of the size: all index and value encodings, on f32,
//! f16 and bf16. The caller has the tensors: the base's bytes, which may lie in flash, and as many to write to. Entries are
//! taken one at a time from a `dyn Iterator`: one loop for all encodings, where a server has one for each of them.
#![no_std]

use core::slice;

use taskvec_arithmetic::{Bf16, F16, add_16, add_distances_16, add_distances_f32, add_f32};
use taskvec_pack::{Dtype, Entries, Limits, Pack};

/// A tensor of the caller's.
#[repr(C)]
pub struct Tensor {
    /// Its name, not ended by a zero byte.
    pub name: *const u8,
    /// Bytes of the name.
    pub name_bytes: usize,
    /// The base's elements.
    pub base: *const u8,
    /// The composed elements; those of the base at first.
    pub values: *mut u8,
    /// Elements of both.
    pub element_count: usize,
}

/// Adds the pack to the tensors at `alpha`; 0 when it is done, 1 when the pack is damaged, 2 when it names a tensor that is
/// not there or has another size.
///
/// # Safety
/// All pointers point to as much as they say, aligned for their elements, and `values` to room that nobody else uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn core_apply(
    pack: *const u8,
    pack_bytes: usize,
    alpha: f32,
    tensors: *const Tensor,
    tensor_count: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    let pack = unsafe { slice::from_raw_parts(pack, pack_bytes) };
    // SAFETY: the caller's promise.
    let tensors = unsafe { slice::from_raw_parts(tensors, tensor_count) };
    let Ok(pack) = Pack::read(pack, &Limits::DEFAULT) else { return 1 };
    for entry in pack.tensors() {
        let wanted = tensors.iter().find(|tensor| {
            // SAFETY: the caller's promise.
            let name = unsafe { slice::from_raw_parts(tensor.name, tensor.name_bytes) };
            name == entry.name().as_bytes()
        });
        let Some(tensor) = wanted else { return 2 };
        if entry.element_count() != tensor.element_count as u64 {
            return 2;
        }
        // SAFETY: the caller's promise, for elements of the size that the pack gives.
        unsafe { add(tensor, entry.dtype(), entry.entries(), alpha) };
    }
    0
}

/// # Safety
/// As for `core_apply`.
unsafe fn add(tensor: &Tensor, dtype: Dtype, entries: Entries<'_>, alpha: f32) {
    match entries {
        Entries::Deltas(mut deltas) => {
            let deltas: &mut dyn Iterator<Item = _> = &mut deltas;
            match dtype {
                // SAFETY: the caller's promise.
                Dtype::F32 => add_f32(unsafe { tensor.slices() }.1, deltas, alpha),
                // SAFETY: the caller's promise.
                Dtype::F16 => add_16::<F16>(unsafe { tensor.slices() }.1, deltas, alpha),
                // SAFETY: the caller's promise.
                _ => add_16::<Bf16>(unsafe { tensor.slices() }.1, deltas, alpha),
            }
        }
        Entries::Distances(mut distances) => {
            let distances: &mut dyn Iterator<Item = _> = &mut distances;
            if dtype == Dtype::F32 {
                // SAFETY: the caller's promise.
                let (base, values) = unsafe { tensor.slices() };
                return add_distances_f32(values, base, distances, alpha);
            }
            // SAFETY: the caller's promise.
            let (base, values) = unsafe { tensor.slices() };
            match dtype {
                Dtype::F16 => add_distances_16::<F16>(values, base, distances, alpha),
                _ => add_distances_16::<Bf16>(values, base, distances, alpha),
            }
        }
    }
}

impl Tensor {
    /// The base's elements, and those to write.
    ///
    /// # Safety
    /// As for `core_apply`; `T` is the type of the elements.
    unsafe fn slices<'a, T>(&self) -> (&'a [T], &'a mut [T]) {
        // SAFETY: the caller's promise.
        let base = unsafe { slice::from_raw_parts(self.base.cast(), self.element_count) };
        // SAFETY: the caller's promise.
        (base, unsafe { slice::from_raw_parts_mut(self.values.cast(), self.element_count) })
    }
}

/// Nothing here panics on foreign bytes; a device would reset.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
