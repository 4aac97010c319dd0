//! A skill: a pack whose bytes have been checked once, and what it takes to be put on a base.
//!
//! Opening reads and checks the whole pack; attaching then only decodes it. A skill is cheap to clone: clones share the
//! bytes. Whether it belongs to a given base is another question, answered by [`Skill::places`] before anything
//! changes.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use taskvec_bundle::{Head, Preprocessing};
use taskvec_pack::{Digest, Limits, Pack, ValueEncoding};

use crate::base_model::BaseModel;
use crate::error::{Error, ErrorKind, of_bundle, of_pack};
use crate::map::{HeldPack, PackBytes, ReadOnlyMap};
use crate::verified::{CheckedPack, FileStamp};

/// A pack, opened on a device.
///
/// Having a `Skill` tells you: its bytes are a pack whose every checksum, index and number has been checked, now or when
/// this process opened the file before. It does not tell you who made it, nor that it fits your base.
#[derive(Clone)]
pub struct Skill {
    inside: Arc<Inside>,
}

struct Inside {
    held: HeldPack,
    size_bytes: u64,
    digest: Digest,
    name: String,
    head: Option<Arc<Head>>,
    preprocessing: Option<Preprocessing>,
    checked: Option<CheckedPack>,
}

/// Where a tensor of a pack is in a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its number in the base.
    pub(crate) number: usize,
    /// Whether its rows are columns there.
    pub(crate) turned: bool,
}

impl Skill {
    /// Maps the pack at `path` read-only and checks it.
    ///
    /// The file must stay as it is while the skill lives: install packs by renaming, never edit them in place.
    ///
    /// # Errors
    /// `Io` when it cannot be opened; `Damaged`, `Unsupported` or `Limit` as the pack's reader says.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, Error> {
        Self::open_unless_checked(path, limits, None)
    }

    /// As [`Skill::open`], but the entries and the digest, which are nearly all of the work, are not gone through if the file
    /// is the very one that `before` was noted of; see [`CheckedPack`] for how that is known, and what it does not notice.
    ///
    /// # Errors
    /// As [`Skill::open`].
    pub fn open_unless_checked(
        path: impl AsRef<Path>,
        limits: &Limits,
        before: Option<&CheckedPack>,
    ) -> Result<Self, Error> {
        let path = path.as_ref();
        let attempt = || format!("open pack `{}`", path.display());
        let file = File::open(path).map_err(|cause| Error::io("open", path, cause))?;
        let size_bytes = file.metadata().map_err(|cause| Error::io("read the size of", path, cause))?.len();
        let too_large = || {
            let clause = format!("it has {size_bytes} bytes, more than the limit of {}", limits.max_file_bytes);
            Error::new(ErrorKind::Limit, clause).while_doing(attempt())
        };
        if size_bytes > limits.max_file_bytes {
            return Err(too_large());
        }
        let length = usize::try_from(size_bytes).map_err(|_| too_large())?;
        // Noted before the bytes are read: a write in between then shows the next time.
        let stamp = FileStamp::of(&file).filter(FileStamp::is_settled);
        let known = stamp.as_ref().and_then(|stamp| before?.digest_of(stamp));
        let map = ReadOnlyMap::of(&file, length).map_err(|cause| Error::io("map", path, cause))?;
        let inside = Inside::of(PackBytes::Mapped(map), size_bytes, limits, known);
        let mut inside = inside.map_err(|cause| cause.while_doing(attempt()))?;
        inside.checked = stamp.map(|stamp| CheckedPack::new(inside.digest, stamp));
        Ok(Self { inside: Arc::new(inside) })
    }

    /// Checks a pack in memory.
    ///
    /// # Errors
    /// `Damaged`, `Unsupported` or `Limit` as the pack's reader says.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>, limits: &Limits) -> Result<Self, Error> {
        let bytes = bytes.into();
        let size_bytes = bytes.len() as u64;
        let inside = Inside::of(PackBytes::Owned(bytes), size_bytes, limits, None)?;
        Ok(Self { inside: Arc::new(inside) })
    }

    /// A note by which this process knows the file again; none where that cannot be relied on, and for a pack in memory.
    pub fn checked(&self) -> Option<&CheckedPack> {
        self.inside.checked.as_ref()
    }

    /// Everything the pack says.
    pub fn pack(&self) -> &Pack<'_> {
        self.inside.held.pack()
    }

    /// Size of the pack's file.
    pub fn size_bytes(&self) -> u64 {
        self.inside.size_bytes
    }

    /// The pack's digest: the identity of the skill, and its place in a composition.
    pub fn digest(&self) -> Digest {
        self.inside.digest
    }

    /// The name its maker gave it, for people; two skills may have the same.
    pub fn name(&self) -> &str {
        &self.inside.name
    }

    /// Entries of all its tensors: how many numbers attaching it applies.
    pub(crate) fn entries(&self) -> u64 {
        self.pack().tensors().map(|tensor| tensor.entry_count()).fold(0, u64::saturating_add)
    }

    /// The alpha its maker recommends, at which its probes hold.
    pub fn recommended_alpha(&self) -> f32 {
        self.pack().manifest().alpha
    }

    /// Its output layer, if it brings one.
    pub fn head(&self) -> Option<&Head> {
        self.inside.head.as_deref()
    }

    /// How its inputs were made, if it says so.
    pub fn preprocessing(&self) -> Option<&Preprocessing> {
        self.inside.preprocessing.as_ref()
    }

    pub(crate) fn shared_head(&self) -> Option<Arc<Head>> {
        self.inside.head.clone()
    }

    /// That the pack was made for `base`, or for what `base` stands for, and can be attached there.
    ///
    /// # Errors
    /// `Mismatch` when it belongs to another base, or disagrees with this one about a tensor, the image or the width of the
    /// features; `Usage` when it changes a tensor that may not be edited; `Unsupported` when it holds distances for a tensor
    /// that is quantized here.
    pub fn check_belongs_to(&self, base: &BaseModel) -> Result<(), Error> {
        self.places(base).map(drop)
    }

    /// For each tensor of the pack, in the pack's order, where it is in `base`.
    ///
    /// # Errors
    /// `Mismatch` when the pack was made for another base than this one and the one that it stands for, or disagrees with it
    /// about a tensor, the image or the width of the features; `Usage` when it changes a tensor that the base does not allow
    /// to be edited; `Unsupported` when it holds distances for a tensor that is quantized here.
    pub(crate) fn places(&self, base: &BaseModel) -> Result<Vec<Place>, Error> {
        let (found, expected) = (base.fingerprint(), self.pack().manifest().base);
        let stands_for = base.described().stands_for().map(|it| it.fingerprint);
        let is_of_original = found != expected && stands_for == Some(expected);
        if found != expected && !is_of_original {
            return Err(Error::new(
                ErrorKind::Mismatch,
                format!("it was made for base {expected}, and this is {found}"),
            )
            .with_help(format!("fetch the pack made for `{}`, or open the base that it names", base.name())));
        }
        self.check_interface(base)?;
        let mut places = Vec::with_capacity(self.pack().tensors().len());
        for entry in self.pack().tensors() {
            let name = entry.name();
            let number = if is_of_original { base.counterpart_number(name) } else { base.tensor_number(name) };
            let Some(number) = number else {
                let clause = format!(
                    "tensor `{name}`: the base has {}",
                    if is_of_original {
                        "nothing that it is; its exporter may have folded it into another"
                    } else {
                        "none of that name"
                    }
                );
                return Err(Error::new(ErrorKind::Mismatch, clause));
            };
            let tensor = &base.tensors()[number];
            let turned = is_of_original && tensor.turned;
            let mut expected = tensor.shape.clone();
            if turned {
                expected.reverse();
            }
            if entry.dtype() != tensor.dtype || !entry.shape().eq(expected.iter().copied()) {
                let shape: Vec<u64> = entry.shape().collect();
                let clause = format!(
                    "tensor `{name}`: base has {} {expected:?}, pack expects {} {shape:?}",
                    tensor.dtype,
                    entry.dtype()
                );
                return Err(Error::new(ErrorKind::Mismatch, clause));
            }
            if tensor.quantization.is_some() && entry.value_encoding() == ValueEncoding::Lossless {
                let clause = format!(
                    "tensor `{name}`: its entries are distances between the bits of floats, and this base has it quantized"
                );
                return Err(Error::new(ErrorKind::Unsupported, clause)
                    .with_help("make the pack with `--values bf16`, `int8` or another encoding of deltas"));
            }
            if !tensor.editable {
                let clause = format!("tensor `{name}`: the base does not list it as editable");
                return Err(Error::new(ErrorKind::Usage, clause)
                    .with_help("export the base with this tensor editable, or train the skill without it"));
            }
            places.push(Place { number, turned });
        }
        Ok(places)
    }

    /// What goes in and comes out of the network is as the skill expects.
    fn check_interface(&self, base: &BaseModel) -> Result<(), Error> {
        let disagree = |what: &str, base: usize, pack: usize| {
            if base == pack {
                return Ok(());
            }
            Err(Error::new(ErrorKind::Mismatch, format!("{what}: base has {base}, pack expects {pack}")))
        };
        let brings_any = self.head().is_some() || self.preprocessing().is_some() || self.pack().probes().is_some();
        if !brings_any {
            return Ok(());
        }
        let Some(pictures) = base.described().pictures() else {
            let clause = format!(
                "it brings a head, preprocessing or probes for pictures, and base `{}` takes arrays",
                base.name()
            );
            return Err(
                Error::new(ErrorKind::Mismatch, clause).with_help("make a pack of the weights alone: `taskvec diff`")
            );
        };
        if let Some(head) = self.head() {
            disagree("width of the features", pictures.feature_width(), head.feature_width())?;
        }
        if let Some(pack) = self.preprocessing() {
            let base = &pictures.preprocessing;
            disagree("channels of an image", base.channels() as usize, pack.channels() as usize)?;
            disagree("height of an image", base.height() as usize, pack.height() as usize)?;
            disagree("width of an image", base.width() as usize, pack.width() as usize)?;
        }
        if let Some(probes) = self.pack().probes() {
            disagree("numbers of a probe's input", pictures.pixels_len(), probes.input_len as usize)?;
            let output = self.head().map_or(pictures.feature_width(), Head::class_count);
            disagree("numbers of a probe's output", output, probes.output_len as usize)?;
        }
        Ok(())
    }
}

impl Inside {
    fn of(bytes: PackBytes, size_bytes: u64, limits: &Limits, known: Option<Digest>) -> Result<Self, Error> {
        let held = HeldPack::read(bytes, limits, known).map_err(of_pack)?;
        let pack = held.pack();
        let (digest, name) = (pack.digest(), pack.manifest().name.to_owned());
        let head = head_of(pack)?.map(Arc::new);
        let preprocessing = preprocessing_of(pack)?;
        Ok(Self { held, size_bytes, digest, name, head, preprocessing, checked: None })
    }
}

/// The pack's head as the session applies it.
fn head_of(pack: &Pack<'_>) -> Result<Option<Head>, Error> {
    let Some(head) = pack.head() else { return Ok(None) };
    let labels = head.labels().map(str::to_owned).collect();
    let (weight, bias) = (head.weight().collect(), head.bias().collect());
    // A u32 fits wherever there is `std`.
    Head::new(labels, weight, bias, head.feature_width as usize).map(Some).map_err(of_bundle)
}

fn preprocessing_of(pack: &Pack<'_>) -> Result<Option<Preprocessing>, Error> {
    let Some(stored) = pack.preprocessing() else { return Ok(None) };
    let unknown = || Error::new(ErrorKind::Unsupported, "its preprocessing is none that this runtime knows");
    let resize = match stored.resize {
        taskvec_pack::Resize::Bilinear => taskvec_bundle::Resize::Bilinear,
        _ => return Err(unknown()),
    };
    let (mean, std) = (stored.mean().collect(), stored.std().collect());
    Preprocessing::new(stored.channels, (stored.height, stored.width), resize, mean, std)
        .map(Some)
        .map_err(|cause| unknown().with_source(of_bundle(cause)))
}
