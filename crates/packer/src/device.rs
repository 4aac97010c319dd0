//! What computes: the CPU, or a GPU where the program was built with a feature for it.

use burn::tensor::Device;

use crate::error::{Error, Result};
use crate::recipe::Compute;

/// The device of a run. A GPU has computed something already.
///
/// # Errors
/// `Unsupported` when the program was built without it, or the machine has no such device.
pub(crate) fn open(compute: Compute) -> Result<Device> {
    match compute {
        Compute::Cpu => Ok(Device::flex()),
        Compute::Cuda => cuda(),
        Compute::Wgpu => wgpu(),
    }
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<Device> {
    tried("cuda", || Device::cuda(0))
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<Device> {
    Err(not_built_in("cuda"))
}

#[cfg(feature = "wgpu")]
fn wgpu() -> Result<Device> {
    tried("wgpu", || Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Result<Device> {
    Err(not_built_in("wgpu"))
}

/// burn opens a device when it is first asked for something, and panics where there is none.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn tried(name: &str, open: impl FnOnce() -> Device) -> Result<Device> {
    let trial = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let device = open();
        let sum = burn::tensor::Tensor::<1>::from_floats([1.0], &device) + 1.0;
        (device, crate::finetune::leaves::to_host(sum))
    }));
    match trial {
        Ok((device, sum)) if sum == [2.0] => Ok(device),
        _ => Err(Error::unsupported(format!("device `{name}` does not compute on this machine"))
            .with_help("look at its driver, or train on the CPU: `device: cpu`")),
    }
}

#[cfg(not(all(feature = "cuda", feature = "wgpu")))]
fn not_built_in(feature: &str) -> Error {
    Error::unsupported(format!("this program was built without `{feature}`")).with_help(format!(
        "build it with `cargo build --release --bin taskvec --features {feature}`, or train on the CPU: `device: cpu`"
    ))
}
