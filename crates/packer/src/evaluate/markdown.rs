//! The tables of an evaluation as Markdown: the numbers of its JSON, as they are shown everywhere.

use std::fmt::Write as _;

use super::evaluation::{Costs, Results};
use super::report::Cell;

/// All tables as Markdown.
pub(crate) fn markdown(results: &Results, costs: &Costs) -> String {
    let mut text = format!("# {}\n\n", results.suite);
    if !results.about.is_empty() {
        let _ = writeln!(text, "{}\n", results.about);
    }
    let _ = writeln!(text, "Base {}.\n", results.base);
    for table in results.tables.iter().chain([&costs.table]) {
        let _ = writeln!(text, "## {}\n\n{}\n", table.title, table.note);
        line(&mut text, [""].into_iter().chain(table.columns.iter().map(String::as_str)));
        line(&mut text, ["---"].into_iter().chain(table.columns.iter().map(|_| "---:")));
        for row in &table.rows {
            let cells: Vec<String> = row.cells.iter().map(Cell::to_string).collect();
            line(&mut text, [row.name.as_str()].into_iter().chain(cells.iter().map(String::as_str)));
        }
        text.push('\n');
    }
    if !results.claims.is_empty() {
        text.push_str("## Claims\n\n");
        for claim in &results.claims {
            let _ = writeln!(text, "- {claim}");
        }
    }
    text
}

fn line<'a>(text: &mut String, cells: impl Iterator<Item = &'a str>) {
    for cell in cells {
        let _ = write!(text, "| {} ", cell.replace('|', "\\|"));
    }
    text.push_str("|\n");
}
