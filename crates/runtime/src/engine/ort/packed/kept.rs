//! The folder in which packed weights are kept: made once for a base, a library and a processor, known again later.
//!
//! | file | what |
//! |---|---|
//! | `packed.onnx` | the graph as ONNX Runtime has optimized it, with the places of its weights |
//! | `packed.bin` | the weights, each tensor and each packed form at a page of its own |
//! | `packed.json` | a digest of the rest of it; then what they were made of, what files they are, where each matrix lies |
//!
//! The folder of a base appears whole, by a rename, when what is in it has passed its checks; one process at a time makes
//! it (a lock). It is used only if everything that it was made of is the same and its files have not changed since: as for
//! a base that was verified before, that is what the file system says of them, and what that does not notice stands in
//! `verified.rs`. (It is asked as soon as they are written, by the one process that has the lock.) Anything else is a reason to make it anew.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use taskvec_pack::Digest;

use super::layout::Layout;
use crate::base_model::BaseModel;
use crate::error::{Error, ErrorKind};
use crate::verified::FileStamp;

pub(super) const MODEL: &str = "packed.onnx";
pub(super) const DATA: &str = "packed.bin";
const DESCRIPTION: &str = "packed.json";
const LOCK: &str = "lock";
/// The one folder in which a process that has the lock makes packed weights.
const MAKING: &str = "making";

/// What is in the folder of a base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) made_of: MadeOf,
    pub(super) stamps: Stamps,
    /// Tensors of one shape mostly share one.
    pub(super) layouts: Vec<Layout>,
    pub(super) matrices: Vec<KeptMatrix>,
}

/// All that packed weights depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MadeOf {
    /// How this crate makes them: another number, other files.
    way: u32,
    base: String,
    /// SHA-256 of `graph.onnx`.
    graph: String,
    library: String,
    processor: String,
}

/// The two files, as the file system knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stamps {
    model: FileStamp,
    data: FileStamp,
}

/// A matrix of the base and its packed form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptMatrix {
    pub(super) tensor: String,
    /// Where its packed form begins in the data file, in bytes.
    pub(super) offset: usize,
    /// How long it is, in bytes.
    pub(super) length: usize,
    /// Which of the layouts.
    pub(super) layout: usize,
}

impl MadeOf {
    /// What packed weights made now would depend on.
    pub(super) fn now(base: &BaseModel, graph: &[u8], library: &Path) -> Result<Self, Error> {
        let size = fs::metadata(library).map_err(|cause| Error::io("look at", library, cause))?.len();
        Ok(Self {
            way: 2,
            base: base.fingerprint().to_string(),
            graph: Digest::of(graph).to_string(),
            library: format!("{}, {size} bytes", ort::info()),
            processor: processor(),
        })
    }
}

/// What Linux says of the first processor, without how fast it runs right now.
fn processor() -> String {
    let said = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = said.split("\n\n").next().unwrap_or_default();
    let lasting: Vec<_> =
        first.lines().filter(|line| !line.starts_with("cpu MHz") && !line.starts_with("bogomips")).collect();
    Digest::of(lasting.join("\n").as_bytes()).to_string()
}

impl Stamps {
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let stamp = |name: &str| {
            FileStamp::of(&File::open(folder.join(name))?).ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
        };
        Ok(Self { model: stamp(MODEL)?, data: stamp(DATA)? })
    }
}

impl Kept {
    /// What is in `folder`, if it can be used.
    fn read(folder: &Path, made_of: &MadeOf) -> Option<Self> {
        let text = fs::read_to_string(folder.join(DESCRIPTION)).ok()?;
        let (digest, description) = text.split_once('\n')?;
        (Digest::of(description.as_bytes()).to_string() == digest).then_some(())?;
        let kept: Self = serde_json::from_str(description).ok()?;
        (kept.made_of == *made_of && kept.stamps == Stamps::of(folder).ok()?).then_some(kept)
    }

    /// Notes in `folder` what is in it.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let description = serde_json::to_string(self)?;
        let mut file = BufWriter::new(File::create(folder.join(DESCRIPTION))?);
        writeln!(file, "{}", Digest::of(description.as_bytes()))?;
        file.write_all(description.as_bytes())?;
        file.into_inner()?.sync_all()
    }
}

/// The packed weights of the base that `made_of` names in `folder`, and the folder that they are in; if there are none,
/// `make` fills one and says what it holds.
pub(super) fn kept_or_made(
    folder: &Path,
    made_of: &MadeOf,
    make: impl FnOnce(&Path) -> Result<Kept, Error>,
) -> Result<(Kept, PathBuf), Error> {
    let io = |verb: &'static str, path: PathBuf| move |cause| Error::io(verb, &path, cause);
    fs::create_dir_all(folder).map_err(io("make the folder", folder.to_owned()))?;
    let lock = folder.join(LOCK);
    let locked = File::create(&lock).and_then(|file| file.lock().map(|()| file));
    let _locked = locked.map_err(io("lock", lock))?;
    let home = folder.join(made_of.base.get(..16).unwrap_or(&made_of.base));
    if let Some(kept) = Kept::read(&home, made_of) {
        return Ok((kept, home));
    }
    let making = folder.join(MAKING);
    remove(&making).map_err(io("remove", making.clone()))?;
    fs::create_dir(&making).map_err(io("make the folder", making.clone()))?;
    let made = make(&making).and_then(|kept| {
        // What is replaced is of another library, or damaged. Sessions that use it keep their mappings.
        remove(&home).map_err(io("remove", home.clone()))?;
        fs::rename(&making, &home).map_err(io("rename", making.clone()))?;
        Ok(kept)
    });
    if made.is_err() {
        // What cannot be removed now is removed before the next one is made.
        let _ = remove(&making);
    }
    Ok((made?, home))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    }
}

/// The files of `folder` are not those that were opened.
pub(super) fn replaced(folder: &Path) -> Error {
    Error::new(ErrorKind::Damaged, format!("the packed weights in `{}` have been replaced", folder.display()))
        .with_help("open the session again")
}
