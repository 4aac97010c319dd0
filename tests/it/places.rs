//! Where things lie that the tests need, and what is said when one of them is not there.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(super) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// The base bundle of the repository, with its data sets and recipes.
pub(super) fn handwriting() -> PathBuf {
    repository().join("models/handwriting")
}

/// The folder named by `TASKVEC_DATA`, else `shared/data` beside the repository.
pub(super) fn shared_data() -> Option<PathBuf> {
    let named = std::env::var_os("TASKVEC_DATA").map(PathBuf::from);
    let beside = repository().join("../shared/data");
    let found = named.into_iter().chain([beside]).find(|folder| folder.join("MANIFEST.md").is_file());
    if found.is_none() {
        left_out("no shared data (set TASKVEC_DATA to its folder)");
    }
    found
}

/// Whether there is an ONNX Runtime library where the programs look for one on behalf of the tests.
pub(super) fn has_onnxruntime() -> bool {
    let pythons = fs::read_dir(repository().join("target/python/lib")).into_iter().flatten().flatten();
    let has_wheel = |python: PathBuf| python.join("site-packages/onnxruntime").is_dir();
    let found = std::env::var_os("ORT_DYLIB_PATH").is_some() || pythons.map(|entry| entry.path()).any(has_wheel);
    if !found {
        left_out("no ONNX Runtime library (`bash tests/run` installs one, ORT_DYLIB_PATH names one)");
    }
    found
}

/// A Python with the packages onnx, onnxruntime and numpy, in which the gate installs them.
pub(super) fn python() -> Option<PathBuf> {
    python_in("target/python", "onnx", "`bash tests/run` installs it into target/python")
}

/// A Python with PyTorch, which nothing here installs: it is large.
pub(super) fn pytorch() -> Option<PathBuf> {
    python_in("target/torch", "torch", "make an environment with torch, transformers, onnxscript, onnx in target/torch")
}

/// A Python with mergekit, which nothing here installs: it wants PyTorch.
pub(super) fn mergekit() -> Option<PathBuf> {
    python_in("target/mergekit", "mergekit", "make an environment with mergekit 0.1.5 in target/mergekit")
}

fn python_in(environment: &str, package: &str, how: &str) -> Option<PathBuf> {
    let environment = repository().join(environment);
    let pythons = fs::read_dir(environment.join("lib")).into_iter().flatten().flatten();
    let found = pythons.map(|entry| entry.path()).any(|python| python.join("site-packages").join(package).is_dir());
    if !found {
        left_out(&format!("no Python package {package} ({how})"));
    }
    found.then(|| environment.join("bin/python"))
}

/// The ONNX Runtime library with OpenVINO, from the wheel that the gate installs.
pub(super) fn openvino() -> Option<PathBuf> {
    let folders = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = folders(repository().join("target/openvino/lib"))
        .flat_map(|python| folders(python.join("site-packages/onnxruntime/capi")));
    let is_library =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so"));
    let found = files.into_iter().find(is_library);
    if found.is_none() {
        left_out("no OpenVINO (`bash tests/run` installs the wheel onnxruntime-openvino into target/openvino)");
    }
    found
}

/// Written past the harness, which shows what a test prints only when it fails.
pub(super) fn left_out(what: &str) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(io::stderr(), "left out: {what}");
}
