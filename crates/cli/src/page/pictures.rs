//! Which pictures an evaluation has, and what they are drawn from.

use taskvec_packer::evaluate::{Outcome, Results, Table, TableLine};

use crate::picture::{Axis, Group, Line, bars, energies, heat_map, lines};

/// A picture, and the table that it stands under.
pub(crate) struct Picture {
    /// File name without ending.
    pub(crate) name: String,
    /// Id of the table.
    pub(crate) table: String,
    pub(crate) svg: String,
}

/// All of them, in the order of the page.
pub(crate) fn pictures(results: &Results) -> Vec<Picture> {
    let mut all = Vec::new();
    if let Some(table) = results.tables.iter().find(|table| table.id == "methods") {
        all.push(picture("methods", "methods", methods(table)));
    }
    all.push(picture("coefficients", "coefficients", coefficients(&results.found.outcomes)));
    for table in results.tables.iter().filter(|table| table.id.starts_with("profile-")) {
        all.push(picture(&table.id, &table.id, profile(table)));
    }
    all.extend(maps(results));
    all.extend(kernels(results));
    all
}

fn picture(name: &str, table: &str, svg: String) -> Picture {
    Picture { name: name.to_owned(), table: table.to_owned(), svg }
}

/// Single task, addition at the coefficient chosen and at 1, of each method.
fn methods(table: &Table) -> String {
    const SHOWN: [&str; 3] = ["single task", "addition", "addition at alpha 1"];
    let place = |title: &str| table.columns.iter().position(|column| column == title);
    let groups = table.rows.iter().map(|row| {
        let bar = |title: &&str| {
            let cell = &row.cells[place(title)?];
            Some([cell.mean?, cell.spread.unwrap_or(0.0)])
        };
        Group { name: row.name.clone(), bars: SHOWN.iter().map(bar).collect() }
    });
    bars("What each method is worth", &SHOWN, &groups.collect::<Vec<_>>())
}

/// Mean accuracy on held-out images against the shared coefficient.
fn coefficients(outcomes: &[Outcome]) -> String {
    let mut rows: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !rows.contains(&outcome.row.as_str()) {
            rows.push(&outcome.row);
        }
    }
    let line = |row: &&str| {
        let curves: Vec<_> =
            outcomes.iter().filter(|outcome| outcome.row == *row).map(|outcome| &outcome.addition.curve).collect();
        let count = curves.iter().map(|curve| curve.len()).min().unwrap_or(0);
        let point = |at: usize| {
            let mean = curves.iter().map(|curve| curve[at].absolute).sum::<f64>() / curves.len() as f64;
            [curves[0][at].alpha, mean, 0.0]
        };
        Line { name: (*row).to_owned(), points: (0..count).map(point).collect(), is_dashed: false }
    };
    let drawn: Vec<Line> = rows.iter().map(line).collect();
    let alphas = || drawn.iter().flat_map(|line| line.points.iter().map(|at| at[0]));
    let (low, high) = alphas().fold((f64::MAX, f64::MIN), |(low, high), alpha| (low.min(alpha), high.max(alpha)));
    let tick = |at: u32| {
        let alpha = low + (high - low) * f64::from(at) / 5.0;
        (alpha, format!("{alpha:.1}"))
    };
    let axis = Axis { title: "coefficient that all tasks share".to_owned(), ticks: (0..=5).map(tick).collect() };
    lines("The sum of all tasks against its coefficient", &axis, "mean accuracy, held-out images", &drawn)
}

/// The lines of a profile, and dashed what they are held against.
fn profile(table: &Table) -> String {
    let axis = Axis {
        title: String::new(),
        ticks: table.columns.iter().enumerate().map(|(at, point)| (at as f64, point.clone())).collect(),
    };
    // What all are held against has the same number at every point.
    let is_flat = |row: &TableLine| row.cells.len() > 1 && row.cells.windows(2).all(|pair| pair[0] == pair[1]);
    let line = |row: &TableLine| {
        let points = row
            .cells
            .iter()
            .enumerate()
            .filter_map(|(at, cell)| Some([at as f64, cell.mean?, cell.spread.unwrap_or(0.0)]));
        Line { name: row.name.clone(), points: points.collect(), is_dashed: is_flat(row) }
    };
    lines(&table.title, &axis, "accuracy", &table.rows.iter().map(line).collect::<Vec<_>>())
}

/// One heat map for each method and pair, of the first seed.
fn maps(results: &Results) -> Vec<Picture> {
    let Some(first) = results.found.maps.first().map(|map| map.seed) else { return Vec::new() };
    let of_first = results.found.maps.iter().filter(|map| map.seed == first);
    of_first
        .map(|map| {
            let [a, b] = [&map.pair[0], &map.pair[1]].map(String::as_str);
            let svg = heat_map(&format!("{}: {a} and {b}", map.row), [a, b], &map.alphas, &map.errors);
            picture(&format!("map-{}-{a}-{b}", map.row), "disentanglement", svg)
        })
        .collect()
}

/// Local energies of each task, of the first seed.
fn kernels(results: &Results) -> Vec<Picture> {
    let all = &results.found.localizations;
    let Some(first) = all.first().map(|one| one.seed) else { return Vec::new() };
    let of_first: Vec<_> = all.iter().filter(|one| one.seed == first).collect();
    let bases = of_first.iter().filter(|one| one.is_base);
    bases
        .map(|base| {
            let drawn = of_first.iter().find(|one| !one.is_base && one.task == base.task);
            let drawn = drawn.map_or(&[][..], |one| &one.eigenfunctions);
            let series = [("the base", &base.eigenfunctions[..]), ("a network that was drawn", drawn)];
            let svg = energies(&format!("Where eigenfunctions live: {}", base.task), &series);
            picture(&format!("kernel-{}", base.task), "kernel", svg)
        })
        .collect()
}
