//! The vectors on disk, compared with those that the tests make by hand.

use std::fs;
use std::path::{Path, PathBuf};

/// A pack and what is said about it.
#[derive(Clone, Debug)]
pub(super) struct Vector {
    /// Name of both files, without their extensions.
    pub(super) name: String,
    /// The pack.
    pub(super) bytes: Vec<u8>,
    /// What must be read, or which error.
    pub(super) json: String,
}

/// Compares vectors made by hand with those of a folder.
pub(super) fn compare(folder: &str, made: &[Vector], stored: &[Vector]) {
    let names = |vectors: &[Vector]| vectors.iter().map(|vector| vector.name.clone()).collect::<Vec<String>>();
    assert_eq!(names(made), names(stored), "the vectors made here (left) and the files of vectors/{folder} (right)");
    for (made, stored) in made.iter().zip(stored) {
        assert_eq!(made.json, stored.json, "{folder}/{}.json", made.name);
        assert!(made.bytes == stored.bytes, "{folder}/{}.tvp differs from what is made by hand", made.name);
    }
}

/// Makes these the vectors of a folder, and the only ones.
pub(super) fn write(folder: &str, made: &[Vector]) {
    let folder = path(folder);
    fs::create_dir_all(&folder).expect("the repository can be written");
    for file in fs::read_dir(&folder).expect("the folder was just made") {
        fs::remove_file(file.expect("a listed file").path()).expect("the repository can be written");
    }
    for vector in made {
        let file = folder.join(&vector.name);
        fs::write(file.with_extension("tvp"), &vector.bytes).expect("the repository can be written");
        fs::write(file.with_extension("json"), &vector.json).expect("the repository can be written");
    }
}

/// The vectors of a folder, sorted by name.
pub(super) fn stored(folder: &str) -> Vec<Vector> {
    let folder = path(folder);
    let listed = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = listed.map(|entry| entry.expect("a listed file").path());
    let packs = files.filter(|file| file.extension().is_some_and(|extension| extension == "tvp"));
    let mut vectors: Vec<Vector> = packs.map(|pack| read(&pack)).collect();
    vectors.sort_by(|left, right| left.name.cmp(&right.name));
    vectors
}

fn read(pack: &Path) -> Vector {
    let json = pack.with_extension("json");
    let name = pack.file_stem().and_then(|name| name.to_str()).expect("a name in ASCII").to_owned();
    Vector {
        name,
        bytes: fs::read(pack).unwrap_or_else(|error| panic!("{}: {error}", pack.display())),
        json: fs::read_to_string(&json).unwrap_or_else(|error| panic!("{}: {error}", json.display())),
    }
}

fn path(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(folder)
}
