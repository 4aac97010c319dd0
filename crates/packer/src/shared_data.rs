//! Where the tests find real data, if it is there.

use std::path::{Path, PathBuf};

/// The folder named by `TASKVEC_DATA`, else `shared/data` beside the repository; `None`, said aloud, when neither is
/// there.
pub(crate) fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("TASKVEC_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let found = named.into_iter().chain([beside]).find(|folder| folder.join("MANIFEST.md").is_file());
    if found.is_none() {
        println!("left out: no shared data (set TASKVEC_DATA to its folder)");
    }
    found
}
