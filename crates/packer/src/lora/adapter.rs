//! An adapter against its base: which tensor each pair of factors changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use half::{bf16, f16};
use taskvec_bundle::StoredDtype;
use taskvec_checkpoint::{Checkpoint, Faults, StoredTensor};

use super::names::{self, Module, Role, Spelling};
use super::product;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::task_vector::Warning;

/// An adapter whose modules were found in a base.
///
/// Having one tells you: each pair of factors has a tensor of the base that its product fits. It tells you nothing about the
/// numbers.
#[derive(Debug)]
pub struct Adapter {
    checkpoint: Checkpoint,
    /// By the names of the base's tensors.
    targets: BTreeMap<String, Pair>,
    notes: Vec<String>,
    warnings: Vec<Warning>,
}

/// The factors of one tensor.
#[derive(Debug)]
struct Pair {
    a: StoredTensor,
    b: StoredTensor,
    scale: f64,
    /// Whether the tensor is the product transposed.
    is_transposed: bool,
}

/// What an adapter has for one module.
#[derive(Debug, Default)]
struct Parts {
    a: Option<StoredTensor>,
    b: Option<StoredTensor>,
    alpha: Option<StoredTensor>,
}

impl Adapter {
    /// The adapter at `path`, its modules found in `base`.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; `Mismatch` when a module is not in the base or does not fit its tensor (the message names them);
    /// `Unsupported` for what is no plain LoRA; `Usage` when a PEFT adapter comes without its configuration.
    pub fn open(path: &Path, base: &Checkpoint) -> Result<Adapter> {
        let checkpoint = Checkpoint::open(path)?;
        let within = |error: Error| error.within(format!("adapter `{}`", path.display()));
        let settings = Settings::beside(checkpoint.path())?;
        let mut modules: BTreeMap<Module, Parts> = BTreeMap::new();
        let mut others = Vec::new();
        for tensor in checkpoint.tensors() {
            let Some((module, role)) = names::read(tensor.name()) else {
                others.push(tensor.name().to_owned());
                continue;
            };
            let parts = modules.entry(module).or_default();
            let part = match role {
                Role::A => &mut parts.a,
                Role::B => &mut parts.b,
                Role::Alpha => &mut parts.alpha,
            };
            *part = Some(tensor.clone());
        }
        refuse_other_kinds(&checkpoint, &modules, &others, settings.as_ref()).map_err(within)?;
        let notes = checkpoint.notes().to_vec();
        let mut adapter = Adapter { checkpoint, targets: BTreeMap::new(), notes, warnings: left_out(&others) };
        adapter.resolve(modules, base, settings.as_ref()).map_err(within)?;
        Ok(adapter)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// The tensors of the base that it changes, in byte order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(String::as_str)
    }

    /// What was decided on the way.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What its reader must know.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Hands the task vector to `sink`, tensor by tensor, in byte order of names: the tensor of the base, and a delta for each of
    /// its elements.
    ///
    /// # Errors
    /// `Damaged` for a delta that is not finite, `Io`, and whatever `sink` returns.
    pub fn deltas(&self, base: &Checkpoint, mut sink: impl FnMut(&StoredTensor, &[f32]) -> Result<()>) -> Result<()> {
        for (name, pair) in &self.targets {
            let Some(tensor) = base.tensor(name) else { continue };
            let (a, b) = (self.numbers(&pair.a)?, self.numbers(&pair.b)?);
            // Was checked not to be 0.
            let rank = pair.a.shape()[0] as usize;
            let deltas = product::Factors { a: &a, b: &b, rank, scale: pair.scale }.product(pair.is_transposed);
            if let Some(index) = deltas.iter().position(|delta| !delta.is_finite()) {
                return Err(Error::damaged(format!(
                    "tensor `{name}`: the delta of element {index} is not a finite number"
                ))
                .with_help("check the training run that made the adapter"));
            }
            sink(tensor, &deltas)?;
        }
        Ok(())
    }

    fn resolve(
        &mut self,
        modules: BTreeMap<Module, Parts>,
        base: &Checkpoint,
        settings: Option<&Settings>,
    ) -> Result<()> {
        let tensors = Names::of(base);
        // A model that the base has nothing of is another model; a module that is missing from one that is there is a fault.
        let is_here = |module: &Module| module.component.is_none() || tensors.find(module).is_some();
        let here: BTreeSet<Option<String>> =
            modules.keys().filter(|module| is_here(module)).map(|module| module.component.clone()).collect();
        let (mut faults, mut elsewhere) = (Faults::default(), BTreeMap::<String, usize>::new());
        let mut unscaled = 0;
        for (module, parts) in modules {
            if let Some(component) =
                module.component.clone().filter(|component| !here.contains(&Some(component.clone())))
            {
                *elsewhere.entry(component).or_default() += 1;
                continue;
            }
            let name = &module.name;
            let Some(tensor) = tensors.find(&module).and_then(|name| base.tensor(name)) else {
                faults.add(format!("module `{name}` has no tensor `{name}.weight` in the base"));
                continue;
            };
            unscaled += usize::from(settings.is_none() && parts.alpha.is_none());
            match self.pair(&module, parts, tensor, settings)? {
                Ok(pair) => {
                    if self.targets.insert(tensor.name().to_owned(), pair).is_some() {
                        faults.add(format!("module `{name}` is there twice"));
                    }
                }
                Err(fault) => faults.add(format!("module `{name}`: {fault}")),
            }
        }
        if let Some(message) = faults.message() {
            return Err(Error::mismatch(message).with_help(format!(
                "name the base that the adapter was trained on; `{}` is another model, or names its tensors otherwise",
                base.path().display()
            )));
        }
        if self.targets.is_empty() {
            let models: Vec<String> = elsewhere.keys().map(|component| format!("`{component}`")).collect();
            return Err(Error::mismatch(format!("none of its modules is in `{}`", base.path().display()))
                .with_help(format!("name a base that it is for: it has modules of {}", models.join(", "))));
        }
        let others = elsewhere.into_iter();
        self.notes.extend(others.map(|(component, count)| {
            format!("{count} modules of `{component}` are left out: the base has no such model in it")
        }));
        if unscaled > 0 {
            self.notes.push(format!("{unscaled} modules say no alpha: it is taken to be the rank, a factor of 1"));
        }
        Ok(())
    }

    /// The factors of a module, checked against each other and against `tensor`; or what does not fit.
    fn pair(
        &self,
        module: &Module,
        parts: Parts,
        tensor: &StoredTensor,
        settings: Option<&Settings>,
    ) -> Result<std::result::Result<Pair, String>> {
        let Parts { a: Some(a), b: Some(b), alpha } = parts else {
            return Ok(Err("one of its two factors is missing".to_owned()));
        };
        let product = |sizes: &[u64]| sizes.iter().product::<u64>();
        let ([rank, inputs @ ..], [rows, b_rank, kernel @ ..]) = (a.shape(), b.shape()) else {
            return Ok(Err(format!("its factors have shapes {:?} and {:?}", a.shape(), b.shape())));
        };
        if *rank == 0 || rank != b_rank || product(kernel) != 1 {
            return Ok(Err(format!("factors {:?} and {:?} have no product", a.shape(), b.shape())));
        }
        let is_embedding = module.spelling == Spelling::Embedding;
        let is_transposed = is_embedding || settings.is_some_and(|settings| settings.fan_in_fan_out);
        let product_shape = if is_transposed { [product(inputs), *rows] } else { [*rows, product(inputs)] };
        let found = tensor.shape().split_first().map(|(first, rest)| [*first, product(rest)]);
        if found != Some(product_shape) {
            return Ok(Err(format!("base has shape {:?}, its product has {product_shape:?}", tensor.shape())));
        }
        let scale = match (settings, alpha) {
            (_, Some(alpha)) => match self.numbers(&alpha)?.as_slice() {
                [alpha] => alpha / *rank as f64,
                _ => return Ok(Err(format!("its alpha has shape {:?}", alpha.shape()))),
            },
            (Some(settings), None) => match settings.scale(&module.name, *rank) {
                Ok(scale) => scale,
                Err(expected) => return Ok(Err(format!("its factors have rank {rank}, its settings say {expected}"))),
            },
            (None, None) => 1.0,
        };
        Ok(Ok(Pair { a, b, scale, is_transposed }))
    }

    fn numbers(&self, tensor: &StoredTensor) -> Result<Vec<f64>> {
        let bytes = self.checkpoint.read(tensor)?;
        let halves = bytes.as_chunks().0.iter();
        Ok(match tensor.dtype() {
            StoredDtype::F32 => bytes.as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect(),
            StoredDtype::F16 => halves.map(|&bytes| f16::from_le_bytes(bytes).to_f64()).collect(),
            StoredDtype::Bf16 => halves.map(|&bytes| bf16::from_le_bytes(bytes).to_f64()).collect(),
            _ => {
                self.checkpoint.editable_dtype(tensor)?;
                Vec::new()
            }
        })
    }
}

/// The base's names, and how kohya's scripts would spell them.
struct Names<'a> {
    base: &'a Checkpoint,
    underscored: HashMap<String, &'a str>,
}

impl<'a> Names<'a> {
    fn of(base: &'a Checkpoint) -> Names<'a> {
        let weights = base.body().filter_map(|tensor| Some((tensor.name().strip_suffix(".weight")?, tensor.name())));
        Names { base, underscored: weights.map(|(module, name)| (module.replace('.', "_"), name)).collect() }
    }

    /// The tensor of this module, with the name of its model before it or without.
    fn find(&self, module: &Module) -> Option<&'a str> {
        let (component, name) = (module.component.as_deref(), &module.name);
        if module.spelling == Spelling::Underscored {
            let within = component.map(|component| format!("{component}_{name}"));
            return [Some(name.clone()), within]
                .into_iter()
                .flatten()
                .find_map(|name| self.underscored.get(&name).copied());
        }
        let within = component.map(|component| format!("{component}.{name}.weight"));
        let spelled = [Some(format!("{name}.weight")), within].into_iter().flatten();
        spelled
            .into_iter()
            .find_map(|name| self.base.tensor(&name).filter(|tensor| !tensor.is_integer()))
            .map(StoredTensor::name)
    }
}

/// That it is a plain LoRA, and says what its product is multiplied with.
fn refuse_other_kinds(
    checkpoint: &Checkpoint,
    modules: &BTreeMap<Module, Parts>,
    others: &[String],
    settings: Option<&Settings>,
) -> Result<()> {
    if let Some(name) = others.iter().find(|name| name.contains("lora_magnitude_vector")) {
        return Err(Error::unsupported(format!("tensor `{name}` is a magnitude of DoRA, LoRA is read"))
            .with_help("merge it into its model and name both checkpoints: `taskvec diff BASE MERGED`"));
    }
    if modules.is_empty() {
        return Err(Error::usage("no tensor in it is a factor of LoRA (`X.lora_A.weight`, `X.lora_down.weight`)")
            .with_help("name an adapter of PEFT, diffusers or kohya's scripts; leave out `--lora` for a checkpoint"));
    }
    let is_peft = checkpoint.tensors().iter().any(|tensor| tensor.name().starts_with(names::PEFT_PREFIX));
    if is_peft && settings.is_none() {
        return Err(Error::usage("an adapter of PEFT says its alpha in `adapter_config.json`, which is not beside it")
            .with_help("put `adapter_config.json` into its folder"));
    }
    Ok(())
}

fn left_out(others: &[String]) -> Vec<Warning> {
    let Some(first) = others.first() else { return Vec::new() };
    vec![Warning {
        message: format!(
            "{} tensors of the adapter are no factors and are left out: `{first}`{}",
            others.len(),
            if others.len() > 1 { " and others" } else { "" }
        ),
        help: "a head or an embedding that was saved whole is no part of the task vector; the skill may need it"
            .to_owned(),
    }]
}
