//! Everything a packer run depends on, as one plain value.
//!
//! A recipe either trains a **base** from scratch (`network` and usually several `data` folders, learned as one task
//! whose labels are prefixed by the folder's name) or a **skill** on a base bundle (`base`). Every setting has a
//! documented default and every default is written out in the run folder, so that the file alone repeats the run.
//!
//! Paths are relative to the recipe file. The digest covers every setting but where things lie: of `data` it takes the
//! folder names (they become labels), of `base` and `mask.from` nothing. What was in them is recorded beside it, by the
//! data's digest, the base's fingerprint and the pack's digest.

mod checks;
mod pattern;
mod penalty;
mod read;
mod settings;
mod ways;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};
use taskvec_bundle::{Preprocessing, Resize};
use taskvec_dataset::folder_name;
use taskvec_networks::NetworkConfig;
use taskvec_pack::Digest;

use crate::error::{Error, Result, from_networks};

pub use pattern::Pattern;
pub use penalty::{CurvatureRecipe, DeltaLength, OrthogonalityRecipe, PenaltyRecipe};
pub(crate) use read::{explain, explain_fragment, read_page};
pub(crate) use settings::everything;
pub use settings::{
    AugmentationRecipe, BatchNormStatistics, ClipOver, Compute, DataForm, Granule, HeadKind, HeadRecipe, LabelSource,
    MaskRecipe, Method, OptimizerRecipe, PackRecipe, PixelRecipe, Rounded, Rule, Schedule, Scope, Score, Values,
};
pub use ways::{DiffPruningRecipe, LoraRecipe, TapsRecipe};

/// Sets recipe digests apart from all other digests of this project.
const DOMAIN: &[u8] = b"taskvec recipe v1\0";

/// Everything a run depends on. Made by [`Recipe::open`] or [`Recipe::parse`]; fields may be changed before a run, which
/// then begins with [`Recipe::check`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the base bundle or the skill is called.
    pub name: String,
    /// Where all randomness of the run comes from. Default 0.
    #[serde(default)]
    pub seed: u64,
    /// Base bundle that a skill starts from. Exactly one of `base` and `network` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// Network of a base that is trained from scratch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkConfig>,
    /// How pixels are normalized for a network trained from scratch; a skill takes the base's. Default: mean and
    /// deviation 0.5, so that black is -1 and white is 1.
    #[serde(default)]
    pub pixels: PixelRecipe,
    /// Which tensors of a new base packs may edit. Default `["*"]`.
    #[serde(default = "everything")]
    pub editable: Vec<Pattern>,
    /// Data set folders (one may be written without the list). Several are learned as one task.
    #[serde(deserialize_with = "one_or_many")]
    pub data: Vec<PathBuf>,
    /// Which form is read of folders that hold the same images in several: photos as JPEG files beside small copies, for instance.
    /// Default: the first that is there, in the order of [`DataForm`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<DataForm>,
    /// Only these classes, in this order. Default: all of them.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Whether each class turned by a quarter, a half and three quarters is a class of its own. Default no.
    #[serde(default)]
    pub quarter_turns: bool,
    /// Which weights learn. Default `dense`.
    #[serde(default)]
    pub method: Method,
    /// Whether the network is linearized around its base while it learns and while it is judged (tangent space; Ortiz-Jimenez et al.
    /// 2023), with any method. Default no.
    #[serde(default, skip_serializing_if = "is_default")]
    pub linearized: bool,
    /// What becomes of the statistics of batch norms. Default `frozen`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub batch_norm_statistics: BatchNormStatistics,
    /// How the mask is found, for the methods that have one.
    #[serde(default)]
    pub mask: MaskRecipe,
    /// The factors of deltas of low rank, for the method that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraRecipe>,
    /// The gates of tensors, for the method that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taps: Option<TapsRecipe>,
    /// The gates of elements, for the method that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_pruning: Option<DiffPruningRecipe>,
    /// What is added to the loss for the task vector. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<PenaltyRecipe>,
    /// The task's output layer.
    #[serde(default)]
    pub head: HeadRecipe,
    /// How weights move.
    #[serde(default)]
    pub optimizer: OptimizerRecipe,
    /// Length of the run in passes over the training images. Exactly one of `epochs` and `steps` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Length of the run in optimizer steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Images per optimizer step. Default 32.
    #[serde(default = "default_batch")]
    pub batch: u32,
    /// Parts that a batch is cut into, one thread each; their gradients are summed in a fixed order, so that the bits do
    /// not depend on the number of cores, but they do depend on this number. Default 2.
    #[serde(default = "default_shards")]
    pub shards: u32,
    /// What computes. Default `cpu`. A GPU is best kept busy with one shard.
    #[serde(default, skip_serializing_if = "is_default")]
    pub device: Compute,
    /// Share of the target that goes to all classes alike, in `[0, 1)`. Default 0.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Share of the training images kept aside for validation and for calibrating a mask, in `[0, 0.9]`. Default 0.1.
    #[serde(default = "default_held_out")]
    pub held_out: f64,
    /// Random changes of the training images. Default: none.
    #[serde(default)]
    pub augmentation: AugmentationRecipe,
    /// Optimizer steps between two checkpoints. Default 200.
    #[serde(default = "default_checkpoint_steps")]
    pub checkpoint_steps: u64,
    /// How the pack is written.
    #[serde(default)]
    pub pack: PackRecipe,
    /// Where relative paths begin: the folder of the recipe file.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl Recipe {
    /// The recipe in the file at `path`, checked.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, `Limit` above 1 MiB, `Usage` for everything that is wrong with what it says: an
    /// unknown key names its line and the nearest key there is.
    pub fn open(path: &Path) -> Result<Recipe> {
        read::open(path)
    }

    /// The recipe written in `text`, checked; its paths are relative to `folder`.
    ///
    /// # Errors
    /// As [`Recipe::open`].
    pub fn parse(text: &str, folder: &Path) -> Result<Recipe> {
        read::parse(text, folder, "recipe")
    }

    /// Writes out the settings that the method has of its own and that were left to their defaults.
    pub(crate) fn fill_in(&mut self) {
        match self.method {
            Method::Lora => drop(self.lora.get_or_insert_default()),
            Method::Taps => drop(self.taps.get_or_insert_default()),
            Method::DiffPruning => drop(self.diff_pruning.get_or_insert_default()),
            _ => {}
        }
        let by_rows = matches!(self.method, Method::Talos | Method::MostSensitive | Method::RandomMask)
            && self.mask.scope != Scope::PerRow;
        self.mask.granule.get_or_insert(if by_rows { Granule::Row } else { Granule::Element });
        if self.method.ranks() {
            self.mask.rule.get_or_insert_default();
        }
        if self.searches() {
            self.mask.search_share.get_or_insert(0.5);
        }
    }

    /// Whether the mask is looked for by training first.
    fn searches(&self) -> bool {
        self.method == Method::DiffPruning || self.method == Method::LotteryMask && self.mask.from.is_none()
    }

    /// Share of the steps in which the mask is looked for; none where it is not looked for by training.
    pub(crate) fn search_share(&self) -> Option<f64> {
        self.mask.search_share.filter(|_| self.searches())
    }

    /// Takes the data from `folders` instead, which are relative to the working directory.
    ///
    /// # Errors
    /// `Io` when there is no working directory.
    pub fn replace_data(&mut self, folders: &[PathBuf]) -> Result<()> {
        self.data = folders.iter().map(|folder| absolute(folder)).collect::<Result<_>>()?;
        Ok(())
    }

    /// Takes the base bundle from `folder` instead, which is relative to the working directory.
    ///
    /// # Errors
    /// `Io` when there is no working directory; `Usage` when this recipe trains from scratch.
    pub fn replace_base(&mut self, folder: &Path) -> Result<()> {
        if self.network.is_some() {
            return Err(Error::usage(format!(
                "recipe `{}` trains a base from scratch and takes no other base",
                self.name
            ))
            .with_help("remove `network` from the recipe to train a skill"));
        }
        self.base = Some(absolute(folder)?);
        Ok(())
    }

    /// Takes the mask of the pack at `path`, which is relative to the working directory, whatever the method was.
    ///
    /// # Errors
    /// `Io` when there is no working directory.
    pub fn share_mask(&mut self, path: &Path) -> Result<()> {
        self.method = Method::SharedMask;
        // What the method before had for settings of its own.
        (self.lora, self.taps, self.diff_pruning) = (None, None, None);
        (self.mask.rule, self.mask.search_share, self.mask.scope) = (None, None, Scope::Global);
        self.mask.from = Some(absolute(path)?);
        Ok(())
    }

    /// Where the pack lies whose mask is taken, if one is.
    pub fn mask_path(&self) -> Option<PathBuf> {
        self.mask.from.as_ref().map(|pack| self.folder.join(pack))
    }

    /// Where the curvature of other tasks lies, if it is taken from a file.
    pub fn curvature_path(&self) -> Option<PathBuf> {
        self.curvature()?.from.as_ref().map(|file| self.folder.join(file))
    }

    /// Where the data set folders of other tasks lie, whose curvature is measured.
    pub fn curvature_paths(&self) -> Vec<PathBuf> {
        let folders = self.curvature().map_or(&[][..], |curvature| &curvature.data);
        folders.iter().map(|folder| self.folder.join(folder)).collect()
    }

    /// What those are called.
    pub fn curvature_names(&self) -> Vec<String> {
        self.curvature_paths().iter().map(|folder| folder_name(folder)).collect()
    }

    /// The penalty on what other tasks feel, if there is one.
    pub fn curvature(&self) -> Option<&CurvatureRecipe> {
        self.penalty.as_ref()?.curvature.as_ref()
    }

    fn curvature_mut(&mut self) -> Option<&mut CurvatureRecipe> {
        self.penalty.as_mut()?.curvature.as_mut()
    }

    /// Where the base bundle lies, for a skill.
    pub fn base_path(&self) -> Option<PathBuf> {
        self.base.as_ref().map(|base| self.folder.join(base))
    }

    /// Where the data set folders lie.
    pub fn data_paths(&self) -> Vec<PathBuf> {
        self.data.iter().map(|folder| self.folder.join(folder)).collect()
    }

    /// The names of the data set folders: the prefixes of the labels where there are several.
    pub fn data_names(&self) -> Vec<String> {
        self.data_paths().iter().map(|folder| folder_name(folder)).collect()
    }

    /// What identifies this recipe: the same for the same settings, wherever the files lie.
    pub fn digest(&self) -> Digest {
        let mut canonical = self.clone();
        canonical.base = self.base.as_ref().map(|_| PathBuf::from("base"));
        canonical.mask.from = self.mask.from.as_ref().map(|_| PathBuf::from("mask"));
        if let Some(curvature) = canonical.curvature_mut() {
            curvature.from = curvature.from.as_ref().map(|_| PathBuf::from("curvature"));
            curvature.data = self.curvature_names().into_iter().map(PathBuf::from).collect();
        }
        canonical.data = self.data_names().into_iter().map(PathBuf::from).collect();
        let json = serde_json::to_vec(&canonical).unwrap_or_default();
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(&json);
        Digest(hash.finalize().into())
    }

    /// The whole recipe as YAML, defaults and all, with paths made absolute: what a run folder keeps.
    ///
    /// # Errors
    /// `Io` when there is no working directory; `Usage` for a path that is not UTF-8.
    pub fn to_yaml(&self) -> Result<String> {
        let mut whole = self.clone();
        whole.base = self.base_path().map(|base| absolute(&base)).transpose()?;
        whole.mask.from = self.mask_path().map(|pack| absolute(&pack)).transpose()?;
        if let Some(curvature) = whole.curvature_mut() {
            curvature.from = curvature.from.as_ref().map(|file| absolute(&self.folder.join(file))).transpose()?;
            curvature.data = self.curvature_paths().iter().map(|folder| absolute(folder)).collect::<Result<_>>()?;
        }
        whole.data = self.data_paths().iter().map(|folder| absolute(folder)).collect::<Result<_>>()?;
        serde_saphyr::to_string(&whole)
            .map_err(|cause| Error::usage(format!("recipe `{}` cannot be written as YAML", self.name)).caused_by(cause))
    }

    /// What is done to a picture before a network trained from scratch sees it; `None` for a skill, which takes its base's.
    ///
    /// # Errors
    /// `Usage` when the network cannot be built or `pixels` does not fit its channels.
    pub fn preprocessing(&self) -> Result<Option<Preprocessing>> {
        let Some(network) = &self.network else { return Ok(None) };
        network.validate().map_err(|cause| from_networks(cause, "`network` cannot be built"))?;
        let [channels, height, width] = network.input_shape().map(|size| size as u32);
        let for_each_channel = |numbers: &[f32]| match numbers {
            [one] => vec![*one; channels as usize],
            several => several.to_vec(),
        };
        let (mean, std) = (for_each_channel(&self.pixels.mean), for_each_channel(&self.pixels.std));
        let preprocessing = Preprocessing::new(channels, (height, width), Resize::Bilinear, mean, std);
        preprocessing.map(Some).map_err(|cause| Error::from_bundle(cause, "`pixels` does not fit the network"))
    }
}

/// The default is not written out: recipes from before it keep their digests.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_batch() -> u32 {
    32
}

fn default_shards() -> u32 {
    2
}

fn default_held_out() -> f64 {
    0.1
}

fn default_checkpoint_steps() -> u64 {
    200
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|cause| Error::io("find", path, cause))
}

/// `data: folder` or `data: [folder, folder]`.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<PathBuf>, D::Error> {
    struct Folders;
    impl<'de> serde::de::Visitor<'de> for Folders {
        type Value = Vec<PathBuf>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a folder or a list of folders")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Self::Value, E> {
            Ok(vec![PathBuf::from(text)])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Self::Value, A::Error> {
            let mut folders = Vec::new();
            while let Some(folder) = list.next_element()? {
                folders.push(folder);
            }
            Ok(folders)
        }
    }
    deserializer.deserialize_any(Folders)
}

#[cfg(test)]
mod tests;
