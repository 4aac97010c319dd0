//! `taskvec eval SUITE.yaml`: trains and judges methods on many tasks, and shows them all in one page.
//!
//! Every method of the suite learns every task with every seed, by the recipes that `taskvec train` takes; then each is judged:
//! each task's own model, the sum of the vectors, each task taken away. Coefficients are chosen on held-out images, and every
//! number has its spread over the seeds. The output folder gets `index.html`, a page that needs nothing beside it, and the same as
//! `tables.md`, `tables.json`, `results.json`, `costs.json` and `pictures/*.svg`. It keeps what was trained: interrupted with Ctrl-C, the same
//! command goes on, and a suite to which a method was added trains that method alone.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use taskvec_packer::evaluate::suite::Suite;
use taskvec_packer::evaluate::{
    Claim, Costs, Ending, Results, SHARE_TOLERANCE, Table, Tables, disagreements, evaluate,
};
use taskvec_packer::run_folder::write_file;

use super::Outcome;
use crate::args::Eval;
use crate::interrupt;
use crate::page::{page, pictures};
use crate::render::{self, Reporter};

#[derive(Serialize)]
struct Shown<'a> {
    folder: &'a Path,
    results: &'a Results,
    costs: &'a Costs,
}

pub(crate) fn run(typed: &Eval, json: bool) -> anyhow::Result<Outcome> {
    let suite = Suite::open(&typed.suite, typed.data.as_deref())?;
    let earlier = typed.against.as_deref().map(|path| read_earlier(path, &suite)).transpose()?;
    let out = typed.out.clone().unwrap_or_else(|| PathBuf::from(format!("eval-{}", suite.name)));
    let runs = suite.runs().count() * suite.seeds.len();
    render::note(&format!("suite `{}`: {runs} runs, output folder `{}`", suite.name, out.display()));
    let stop = interrupt::stop_flag()?;
    let ending = evaluate(&suite, &out, &mut Reporter::new(), &stop)?;
    let Ending::Finished(finished) = ending else {
        render::note("stopped; what was done is in the output folder, and the same command goes on from it");
        return Ok(Outcome::DoneWithWarnings);
    };
    let (results, costs) = &*finished;
    show(&out, results, costs)?;
    render::result(json, &Shown { folder: &out, results, costs }, text)?;
    let Some(earlier) = earlier else { return Ok(Outcome::Done) };
    let lines = disagreements(&results.tables, &earlier.tables);
    for line in &lines {
        render::note(line);
    }
    let points = 100.0 * SHARE_TOLERANCE;
    let count = lines.len();
    render::note(&format!("beside the earlier tables, within {points} points and the spread; disagreements: {count}"));
    Ok(if lines.is_empty() { Outcome::Done } else { Outcome::DoneWithWarnings })
}

fn read_earlier(path: &Path, suite: &Suite) -> anyhow::Result<Tables> {
    let text = std::fs::read(path).with_context(|| format!("read `{}`", path.display()))?;
    let tables: Tables = serde_json::from_slice(&text)
        .with_context(|| format!("`{}` is no `tables.json` of an evaluation", path.display()))?;
    let (theirs, ours) = (&tables.suite, &suite.name);
    anyhow::ensure!(theirs == ours, "`{}` is of suite `{theirs}`, expected `{ours}`", path.display());
    Ok(tables)
}

/// Draws the pictures and writes the page.
fn show(out: &Path, results: &Results, costs: &Costs) -> anyhow::Result<()> {
    let folder = out.join("pictures");
    std::fs::create_dir_all(&folder).with_context(|| format!("create `{}`", folder.display()))?;
    let pictures = pictures(results);
    for picture in &pictures {
        write_file(&folder.join(format!("{}.svg", picture.name)), picture.svg.as_bytes())?;
    }
    let path = out.join("index.html");
    write_file(&path, page(results, costs, &pictures).as_bytes())?;
    render::note(&format!("`{}` shows everything", path.display()));
    Ok(())
}

fn text(shown: &Shown<'_>) -> String {
    let mut text = String::new();
    for table in shown.results.tables.iter().chain([&shown.costs.table]) {
        text.push_str(&format!("{}\n\n{}\n", table.title, plain(table)));
    }
    text.extend(shown.results.claims.iter().map(|claim: &Claim| format!("{claim}\n")));
    text
}

fn plain(table: &Table) -> String {
    let header: Vec<&str> = [""].into_iter().chain(table.columns.iter().map(String::as_str)).collect();
    let row = |name: &str, cells: Vec<String>| [name.to_owned()].into_iter().chain(cells).collect();
    let rows: Vec<Vec<String>> =
        table.rows.iter().map(|line| row(&line.name, line.cells.iter().map(ToString::to_string).collect())).collect();
    render::table(&header, &rows)
}
