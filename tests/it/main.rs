//! What needs more than one crate, one module for each question.

mod budget;
#[cfg(target_os = "linux")]
mod c_interface;
mod checkpoints;
mod conformance;
mod demo;
mod device;
mod doors;
mod evaluation;
mod interrupt;
mod journey;
mod linearized;
mod merge;
#[cfg(unix)]
mod offline;
mod onnx_bases;
mod openvino;
#[cfg(target_os = "linux")]
mod peak_memory;
mod places;
#[cfg(target_os = "linux")]
mod power_cut;
mod programs;
mod public_models;
mod refusals;
mod rounded;
mod serve;
mod small_pack;
mod sources;
#[cfg(target_os = "linux")]
mod thread_count;
mod trust;
mod update;
mod verify;
