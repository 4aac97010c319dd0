//! Execution providers as ort registers them, and which of them a library has.

use std::num::NonZeroUsize;

use ort::ep::{self, ExecutionProvider as _, ExecutionProviderDispatch};
use ort::session::builder::SessionBuilder;

use crate::engine::{Provider, ProviderName};

/// Whether the loaded library was built with it. (That its device is there is another matter.)
pub(super) fn is_in_library(name: ProviderName) -> bool {
    let found = match name {
        ProviderName::Cpu => return true,
        ProviderName::OpenVino => ep::OpenVINO::is_available(),
        ProviderName::Xnnpack => ep::XNNPACK::is_available(),
        ProviderName::Qnn => ep::QNN::is_available(),
        ProviderName::Nnapi => ep::NNAPI::is_available(),
        ProviderName::CoreMl => ep::CoreML::is_available(),
        ProviderName::TensorRt => ep::TensorRT::is_available(),
        ProviderName::Cuda => ep::CUDA::is_available(),
        ProviderName::DirectMl => ep::DirectML::is_available(),
        ProviderName::WebGpu => ep::WebGPU::is_available(),
    };
    // The call fails for want of memory and of nothing else.
    found.unwrap_or(false)
}

/// Gives `builder` to the provider: its nodes first, then the CPU's for what it does not take.
///
/// Everything that computes with fewer bits than f32 on its own account is told not to, as far as there is a word for it.
pub(super) fn register(builder: SessionBuilder, provider: &Provider, threads: usize) -> ort::Result<SessionBuilder> {
    let device = provider.device.as_deref();
    // Checked where the provider was parsed; one that was put together by hand gets the default device.
    let number = device.and_then(|device| device.parse().ok());
    let dispatch: ExecutionProviderDispatch = match provider.name {
        ProviderName::Cpu => return Ok(builder),
        ProviderName::OpenVino => {
            let device = device.unwrap_or("CPU");
            let mut openvino = ep::OpenVINO::default().with_device_type(device);
            if device == "CPU" {
                openvino = openvino.with_num_threads(threads);
            }
            // An NPU knows no f32, and refuses to be asked.
            if device == "CPU" || device.starts_with("GPU") {
                openvino = openvino.with_precision("FP32");
            }
            openvino.build()
        }
        ProviderName::Xnnpack => {
            let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
            ep::XNNPACK::default().with_intra_op_num_threads(threads).build()
        }
        ProviderName::Qnn => match device {
            Some(backend) => ep::QNN::default().with_backend_path(backend).build(),
            None => ep::QNN::default().build(),
        },
        ProviderName::Nnapi => ep::NNAPI::default().build(),
        ProviderName::CoreMl => ep::CoreML::default().build(),
        ProviderName::TensorRt => ep::TensorRT::default().with_device_id(number.unwrap_or(0)).build(),
        ProviderName::Cuda => ep::CUDA::default().with_device_id(number.unwrap_or(0)).with_tf32(false).build(),
        ProviderName::DirectMl => match number {
            Some(number) => ep::DirectML::default().with_device_id(number).build(),
            None => ep::DirectML::default().build(),
        },
        ProviderName::WebGpu => match number {
            Some(number) => ep::WebGPU::default().with_device_id(number).build(),
            None => ep::WebGPU::default().build(),
        },
    };
    let builder = match provider.name {
        // Both as their makers ask for.
        ProviderName::DirectMl => builder.with_memory_pattern(false)?,
        ProviderName::Xnnpack => builder.with_intra_op_spinning(false)?,
        _ => builder,
    };
    Ok(builder.with_execution_providers([dispatch.error_on_failure()])?)
}
