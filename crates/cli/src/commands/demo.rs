//! `taskvec demo`: the main job on data that the program carries, in about a minute.
//!
//! Trains a skill for handwritten digits on the embedded handwriting base (1.8 MB, learned on three alphabets), packs it,
//! attaches it to the mapped base, answers, detaches it, and compares every byte of the composed weights with the base's
//! file. The base gets a fair chance: on each task a head of class means of its own features. Then the packs that the
//! program carries for other tasks are attached one after the other, and each is judged on every task. All packs are signed
//! with a key pair made for this folder, which `--out` names; all files stay there, so that the other commands and
//! `taskvec-device` can be tried on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use include_dir::{Dir, include_dir};
use serde::Serialize;
use taskvec_bundle::{ClassMeans, Head, MODEL_FILE, argmax};
use taskvec_dataset::Dataset;
use taskvec_packer::SecretKey;
use taskvec_packer::pack_run::{PackWishes, pack_run};
use taskvec_packer::recipe::Recipe;
use taskvec_packer::run_folder::write_file;
use taskvec_packer::train::{Ending, train};
use taskvec_runtime::{BaseModel, Change, HeadChoice, PackLimits, Proof, Session, Skill};

use super::Outcome;
use super::answers::{Answer, accuracy, answers, features};
use crate::args::Demo;
use crate::interrupt;
use crate::picture::{self, Bar, Sample};
use crate::render::{self, Reporter, percent, size};

/// The base model, its data sets, its recipes and its packs, as they lie in the repository.
static HANDWRITING: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../models/handwriting");

/// A folder with this file is a demo's, and may be replaced by the next.
const MARK: &str = "demo.json";
/// The skill that is trained before your eyes, and the data set that it learns from.
const TRAINED: (&str, &str) = ("digits", "digits8x8");
/// The skills whose packs the program carries.
const CARRIED: [(&str, &str); 2] = [("korean", "omniglot_korean"), ("sketches", "quickdraw3")];

#[derive(Serialize)]
struct Shown {
    folder: String,
    engine: String,
    /// The base on the digits, with a head of class means of its own features; 0 to 1.
    base_accuracy: f64,
    /// The base with the skill.
    attached_accuracy: f64,
    /// After detaching, measured anew.
    detached_accuracy: f64,
    /// Every byte of the composed weights was compared with the base's file, and none differed.
    base_restored: bool,
    pack_bytes: u64,
    base_bytes: u64,
    attach_ms: f64,
    touched_bytes: u64,
    train_seconds: f64,
    tasks: Vec<String>,
    /// Each composition on each task; own task with the pack's head, others with class means.
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    composition: String,
    pack_bytes: Option<u64>,
    accuracy: Vec<f64>,
}

pub(crate) fn run(typed: &Demo, json: bool) -> anyhow::Result<Outcome> {
    let out = &typed.out;
    prepare(out)?;
    let home = out.join("handwriting");
    HANDWRITING.extract(&home).with_context(|| format!("write the demo's files into `{}`", home.display()))?;
    render::note(&format!("handwriting base, data sets, recipes and packs: `{}`", home.display()));

    let began = Instant::now();
    let (name, data) = TRAINED;
    let pack = out.join(format!("{name}.tvp"));
    let Some(()) = train_skill(&home, name, &out.join("run"), &pack)? else {
        render::note("stopped; start the demo again");
        return Ok(Outcome::DoneWithWarnings);
    };
    let train_seconds = began.elapsed().as_secs_f64();
    let skills = home.join("skills");
    let carried = CARRIED.map(|(name, _)| skills.join(format!("{name}.tvp")));
    sign(&out.join("demo.key"), [&pack].into_iter().chain(&carried))?;

    let base = BaseModel::open(&home)?;
    let session = super::open(&base, &super::engine(typed.engine, None))?;
    let tasks: Vec<Task> = std::iter::once((name, data))
        .chain(CARRIED)
        .map(|(name, data)| Ok(Task { name, set: Dataset::open(&home.join("data").join(data))? }))
        .collect::<anyhow::Result<_>>()?;
    let skill = Skill::open(&pack, &PackLimits::default())?;

    render::note("attaching and detaching");
    let before = tasks[0].answers_by_class_means(&session)?;
    let mut rows = vec![Row { composition: "base".into(), pack_bytes: None, accuracy: everywhere(&session, &tasks)? }];
    let change = session.attach(&skill, skill.recommended_alpha())?;
    let with = answers(&session, &tasks[0].set.test.images, &HeadChoice::Skill(skill.digest()))?;
    rows.push(judged(&session, &tasks, &skill, 0)?);
    session.detach(&skill.digest())?;
    let after = tasks[0].answers_by_class_means(&session)?;
    let base_restored = is_restored(&session, &home)?;
    for (column, path) in carried.iter().enumerate() {
        let skill = Skill::open(path, &PackLimits::default())?;
        let alpha = skill.recommended_alpha();
        session.swap([(skill.clone(), alpha)])?;
        rows.push(judged(&session, &tasks, &skill, column + 1)?);
    }

    let labels = &tasks[0].set.test.labels;
    let right = |classes: &[usize]| {
        classes.iter().zip(labels).filter(|(class, label)| **class == **label as usize).count() as f64
            / labels.len() as f64
    };
    let shown = Shown {
        folder: out.display().to_string(),
        engine: session.engine(),
        base_accuracy: right(&before),
        attached_accuracy: accuracy(&with, labels),
        detached_accuracy: right(&after),
        base_restored,
        pack_bytes: file_bytes(&pack)?,
        base_bytes: file_bytes(&home.join(MODEL_FILE))?,
        attach_ms: change.weights_ms,
        touched_bytes: change.touched_bytes,
        train_seconds,
        tasks: tasks.iter().map(|task| task.name.to_owned()).collect(),
        rows,
    };
    write_file(&out.join("demo.svg"), drawing(&shown, &tasks[0], &before, &with).as_bytes())?;
    write_file(&out.join(MARK), serde_json::to_string_pretty(&shown)?.as_bytes())?;
    render::result(json, &shown, |shown| story(shown, &change))?;
    if !base_restored {
        bail!("the weights after detaching are not the base's");
    }
    Ok(Outcome::Done)
}

/// Makes the folder, or empties it when it is a demo's.
fn prepare(out: &Path) -> anyhow::Result<()> {
    let attempt = || format!("prepare the demo's folder `{}`", out.display());
    if out.exists() {
        let is_empty = fs::read_dir(out).with_context(attempt)?.next().is_none();
        if !is_empty && !out.join(MARK).exists() {
            bail!("`{}` holds something that is no demo's: name another folder with --out", out.display());
        }
        fs::remove_dir_all(out).with_context(attempt)?;
    }
    fs::create_dir_all(out).with_context(attempt)?;
    fs::write(out.join(MARK), "{}\n").with_context(attempt)
}

/// Trains the skill of this recipe and packs it; `None` when stopped by Ctrl-C.
fn train_skill(home: &Path, name: &str, run: &Path, pack: &Path) -> anyhow::Result<Option<()>> {
    let recipe = Recipe::open(&home.join("recipes").join(format!("{name}.yaml")))?;
    render::note(&format!("training `{name}` by recipe {}, seed {}", recipe.digest(), recipe.seed));
    let stop = interrupt::stop_flag()?;
    match train(&recipe, run, &mut Reporter::new(), &stop)? {
        Ending::Stopped { .. } => Ok(None),
        Ending::Finished(_) => {
            write_file(pack, &pack_run(run, &PackWishes::default())?.encoded.bytes)?;
            Ok(Some(()))
        }
    }
}

/// Signs packs with a key of their own, made for this folder: whoever pins it on a device trusts this demo.
fn sign<'a>(key: &Path, packs: impl Iterator<Item = &'a PathBuf>) -> anyhow::Result<()> {
    let secret = SecretKey::generate()?;
    secret.create(key)?;
    for path in packs {
        let bytes = fs::read(path).with_context(|| format!("read pack `{}`", path.display()))?;
        write_file(path, &secret.sign(&bytes)?)?;
    }
    Ok(())
}

struct Task {
    name: &'static str,
    set: Dataset,
}

impl Task {
    /// The class of each test image, by a head of class means of the features as they are now.
    fn answers_by_class_means(&self, session: &Session) -> anyhow::Result<Vec<usize>> {
        let width = session.base().pictures()?.feature_width();
        let mut means = ClassMeans::new(self.set.classes.len(), width);
        means.add(&features(session, &self.set.train.images)?, &self.set.train.labels)?;
        let head: Head = means.head(self.set.classes.clone(), 1.0)?;
        let logits = head.logits(&features(session, &self.set.test.images)?)?;
        Ok(logits.chunks(head.class_count()).map(|row| argmax(row).unwrap_or(0)).collect())
    }

    fn accuracy_by_class_means(&self, session: &Session) -> anyhow::Result<f64> {
        let classes = self.answers_by_class_means(session)?;
        let labels = &self.set.test.labels;
        let right = classes.iter().zip(labels).filter(|(class, label)| **class == **label as usize).count();
        Ok(right as f64 / labels.len().max(1) as f64)
    }
}

fn everywhere(session: &Session, tasks: &[Task]) -> anyhow::Result<Vec<f64>> {
    tasks.iter().map(|task| task.accuracy_by_class_means(session)).collect()
}

/// The skill in force on every task: on its own with its head, elsewhere with class means.
fn judged(session: &Session, tasks: &[Task], skill: &Skill, own: usize) -> anyhow::Result<Row> {
    let mut accuracies = Vec::new();
    for (at, task) in tasks.iter().enumerate() {
        accuracies.push(if at == own {
            let found = answers(session, &task.set.test.images, &HeadChoice::Skill(skill.digest()))?;
            accuracy(&found, &task.set.test.labels)
        } else {
            task.accuracy_by_class_means(session)?
        });
    }
    Ok(Row {
        composition: format!("base + {}", skill.name()),
        pack_bytes: Some(skill.pack().content().len() as u64),
        accuracy: accuracies,
    })
}

/// Compares the composed weights with the base's file, read anew from the disk, byte by byte.
fn is_restored(session: &Session, home: &Path) -> anyhow::Result<bool> {
    let path = home.join(MODEL_FILE);
    let file = fs::read(&path).with_context(|| format!("read `{}`", path.display()))?;
    Ok(session.look_at_weights(|weights| weights.bytes() == file))
}

fn file_bytes(path: &Path) -> anyhow::Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("read the size of `{}`", path.display()))?.len())
}

fn story(shown: &Shown, change: &Change) -> String {
    let proof = match change.proof {
        Proof::Probes { count, difference_max, tolerance } => {
            format!(
                "{count} probes answered within {difference_max:.1e} of what was promised (allowed: {tolerance:.1e})"
            )
        }
        _ => "proved without probes".to_owned(),
    };
    let header: Vec<&str> = ["in force", "pack"].into_iter().chain(shown.tasks.iter().map(String::as_str)).collect();
    let row = |row: &Row| {
        let start = [row.composition.clone(), row.pack_bytes.map_or_else(|| "-".to_owned(), size)];
        start.into_iter().chain(row.accuracy.iter().map(|share| percent(*share))).collect()
    };
    let rows: Vec<Vec<String>> = shown.rows.iter().map(row).collect();
    format!(
        "\nA base that knows three alphabets was asked to read digits: {} right.\n\
         It learned them in {:.0} s. What it learned is a pack of {}; the base has {}.\n\
         Attached in {:.1} ms, {} of weights touched; {proof}.\n\
         With the skill: {} right. Detached: {} right, and every byte of the weights {}.\n\n\
         {}\n\
         On its own task a skill answers with its own head, elsewhere class means of the features in force do.\n\
         Engine: {}.\n\n\
         Files: `{folder}` (picture: demo.svg). Try next:\n  \
         taskvec inspect {folder}/digits.tvp --key {folder}/demo.pub\n  \
         taskvec-device trust add {folder}/demo.pub\n  \
         taskvec-device attach {folder}/digits.tvp --base {folder}/handwriting\n",
        percent(shown.base_accuracy),
        shown.train_seconds,
        size(shown.pack_bytes),
        size(shown.base_bytes),
        shown.attach_ms,
        size(shown.touched_bytes),
        percent(shown.attached_accuracy),
        percent(shown.detached_accuracy),
        if shown.base_restored { "is the base's again" } else { "is NOT the base's" },
        render::table(&header, &rows),
        shown.engine,
        folder = shown.folder,
    )
}

fn drawing(shown: &Shown, task: &Task, before: &[usize], with: &[Answer]) -> String {
    let bars = [
        ("base", shown.base_accuracy),
        ("base + digits", shown.attached_accuracy),
        ("after detaching", shown.detached_accuracy),
    ];
    let bars = bars.map(|(name, share)| Bar { name: name.to_owned(), share });
    let (images, labels) = (&task.set.test.images, &task.set.test.labels);
    // First where the skill made a difference, then the others.
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by_key(|at| before[*at] == with[*at].class);
    let samples: Vec<Sample> = order
        .into_iter()
        .take(8)
        .map(|at| Sample {
            gray: images[at].data.clone(),
            width: images[at].width as usize,
            truth: task.set.classes[labels[at] as usize].clone(),
            base: task.set.classes[before[at]].clone(),
            attached: with[at].label.clone(),
        })
        .collect();
    let title = format!("{} pack on a {} base", size(shown.pack_bytes), size(shown.base_bytes));
    picture::demo(&title, &bars, &samples)
}
