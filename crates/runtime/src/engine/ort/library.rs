//! Where the ONNX Runtime library is looked for.
//!
//! In this order: the path that the caller gave; the variable `ORT_DYLIB_PATH`; the folder of the executable; the
//! `onnxruntime` wheel of a Python environment (those the caller names, `VIRTUAL_ENV`, the user's, the system's). The
//! first two are orders: if nothing is there, that is an error, and no other library is taken in their place. No
//! program is run to find out.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::OrtSettings;
use crate::error::{Error, ErrorKind};

/// Everything the search depends on, gathered in one place so that it can be tested.
struct Places {
    /// A path somebody gave, and what he gave it as.
    ordered: Option<(&'static str, PathBuf)>,
    executable_folder: Option<PathBuf>,
    /// Folders that hold `lib/python3.x/site-packages` or the like.
    python_roots: Vec<PathBuf>,
}

/// The library that `settings` and this process's surroundings lead to.
pub(super) fn find(settings: &OrtSettings) -> Result<PathBuf, Error> {
    Places::around(settings).find()
}

impl Places {
    fn around(settings: &OrtSettings) -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let ordered = match &settings.library {
            Some(path) => Some(("the path given for the ONNX Runtime library", path.clone())),
            None => variable("ORT_DYLIB_PATH").map(|path| ("the variable `ORT_DYLIB_PATH`", path)),
        };
        let mut python_roots = settings.python_environments.clone();
        python_roots.extend(variable("VIRTUAL_ENV"));
        python_roots.extend(variable("HOME").map(|home| home.join(".local")));
        python_roots.extend(["/usr/local", "/usr"].map(PathBuf::from));
        let executable_folder = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned()));
        Self { ordered, executable_folder, python_roots }
    }

    fn find(&self) -> Result<PathBuf, Error> {
        if let Some((who, path)) = &self.ordered {
            return if path.is_file() {
                Ok(path.clone())
            } else {
                Err(Error::new(ErrorKind::Unsupported, format!("{who} is `{}`, and no file is there", path.display()))
                    .with_help("correct the path, or leave it out to have the usual places looked at"))
            };
        }
        let mut looked_at = Vec::new();
        let folders = self.executable_folder.iter().cloned().chain(self.python_roots.iter().flat_map(wheel_folders));
        for folder in folders {
            if let Some(library) = newest_library(&folder) {
                return Ok(library);
            }
            looked_at.push(folder);
        }
        // Roots without any Python are named too, so that the reader sees that they were looked at.
        looked_at.extend(self.python_roots.iter().filter(|root| wheel_folders(root).is_empty()).cloned());
        let looked_at: Vec<_> = looked_at.iter().map(|folder| format!("`{}`", folder.display())).collect();
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("no ONNX Runtime library found; looked at {}", looked_at.join(", ")),
        )
        .with_help("`pip install onnxruntime` in a Python environment, set ORT_DYLIB_PATH, or use the burn engine"))
    }
}

/// Folders under `root` in which a wheel of ONNX Runtime keeps its library, for each Python there, the newest first.
fn wheel_folders(root: impl AsRef<Path>) -> Vec<PathBuf> {
    let root = root.as_ref();
    let mut pythons = vec![root.join("Lib")];
    for libraries in ["lib", "lib64"] {
        pythons.extend(entries(&root.join(libraries)).filter(|path| name_of(path).starts_with("python3")));
    }
    pythons.sort_by_key(|path| std::cmp::Reverse(numbers_in(&name_of(path))));
    let mut folders = Vec::new();
    for python in pythons {
        for packages in ["site-packages", "dist-packages"] {
            let folder = python.join(packages);
            if folder.is_dir() {
                folders.push(folder.join("onnxruntime").join("capi"));
            }
        }
    }
    folders
}

/// The library in `folder`, the highest version if there are several.
fn newest_library(folder: &Path) -> Option<PathBuf> {
    let stem = format!("{}onnxruntime.", std::env::consts::DLL_PREFIX);
    let extension = std::env::consts::DLL_EXTENSION;
    entries(folder)
        .filter(|path| {
            let name = name_of(path);
            // `libonnxruntime.so`, `libonnxruntime.so.1.32.0`, `libonnxruntime.1.32.0.dylib`, `onnxruntime.dll`; not
            // `libonnxruntime_providers_shared.so`.
            name.strip_prefix(&stem).is_some_and(|rest| rest.split('.').any(|part| part == extension)) && path.is_file()
        })
        .max_by_key(|path| numbers_in(&name_of(path)))
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn name_of(path: &Path) -> String {
    path.file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
}

/// The numbers in a file name, to order versions by.
fn numbers_in(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn touch(root: &Path, path: &str) -> PathBuf {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"").unwrap();
        path
    }

    #[test]
    fn takes_the_newest_library_of_a_wheel_and_no_provider() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "lib/python3.9/site-packages/onnxruntime/capi/libonnxruntime.so.1.9.0");
        let capi = "lib/python3.11/site-packages/onnxruntime/capi";
        touch(root.path(), &format!("{capi}/libonnxruntime_providers_shared.so"));
        touch(root.path(), &format!("{capi}/libonnxruntime.so.1.9.0"));
        let newest = touch(root.path(), &format!("{capi}/libonnxruntime.so.1.32.0"));
        let places = Places { ordered: None, executable_folder: None, python_roots: vec![root.path().into()] };
        assert_eq!(places.find().unwrap(), newest);
    }

    #[test]
    fn the_executables_folder_comes_before_python() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.32.0");
        let beside = touch(root.path(), "bin/libonnxruntime.so");
        let places = Places {
            ordered: None,
            executable_folder: beside.parent().map(Path::to_owned),
            python_roots: vec![root.path().into()],
        };
        assert_eq!(places.find().unwrap(), beside);
    }

    #[test]
    fn an_order_is_not_replaced_by_something_else() {
        let root = tempfile::tempdir().unwrap();
        let beside = touch(root.path(), "libonnxruntime.so");
        let places = Places {
            ordered: Some(("the variable `ORT_DYLIB_PATH`", root.path().join("nowhere.so"))),
            executable_folder: beside.parent().map(Path::to_owned),
            python_roots: Vec::new(),
        };
        let error = places.find().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("nowhere.so"), "{error}");
    }

    #[test]
    fn says_where_it_looked_and_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let places = Places {
            ordered: None,
            executable_folder: Some(root.path().join("bin")),
            python_roots: vec![root.path().join("python")],
        };
        let error = places.find().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        for folder in ["bin", "python"] {
            assert!(error.to_string().contains(&root.path().join(folder).display().to_string()), "{error}");
        }
        assert!(error.help().unwrap().contains("pip install onnxruntime"));
    }
}
