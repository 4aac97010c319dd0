//! Do two evaluations of a suite say the same? On one machine they do to the last byte; another's instructions round otherwise, and
//! a training run carries such differences on.

use super::report::{Cell, Table, Unit};

/// Two shares that differ by no more than this, beside the spread over the seeds, are the same.
pub const SHARE_TOLERANCE: f64 = 0.02;

/// Two numbers of bytes that differ by no more than this share are the same.
pub const BYTES_TOLERANCE: f64 = 0.05;

/// Where the tables of `found` are not those of `expected`, a line for each: tables, rows and columns that are missing, and
/// numbers beyond the tolerance. Coefficients and seconds are not compared: the former jump by whole steps of their grid where two are
/// nearly as good, the latter are the machine's.
pub fn disagreements(found: &[Table], expected: &[Table]) -> Vec<String> {
    let mut all = Vec::new();
    for expected in expected {
        let title = &expected.title;
        let Some(found) = found.iter().find(|found| found.id == expected.id) else {
            all.push(format!("there is no table `{title}`"));
            continue;
        };
        let missing = expected.columns.iter().filter(|column| !found.columns.contains(column));
        all.extend(missing.map(|column| format!("table `{title}` has no column `{column}`")));
        for row in &expected.rows {
            let Some(found_row) = found.rows.iter().find(|found| found.name == row.name) else {
                all.push(format!("table `{title}` has no row `{}`", row.name));
                continue;
            };
            for (column, cell) in expected.columns.iter().zip(&row.cells) {
                let place = found.columns.iter().position(|found| found == column);
                if let Some(found) = place.and_then(|at| found_row.cells.get(at)).filter(|found| !agree(found, cell)) {
                    all.push(format!("table `{title}`, {}, {column}: {found}, expected {cell}", row.name));
                }
            }
        }
    }
    all
}

fn agree(found: &Cell, expected: &Cell) -> bool {
    let (Some(left), Some(right)) = (found.mean, expected.mean) else { return found.mean == expected.mean };
    let off = (left - right).abs();
    match expected.unit {
        Unit::Share => off <= SHARE_TOLERANCE + expected.spread.unwrap_or(0.0),
        Unit::Bytes => off <= BYTES_TOLERANCE * right.abs(),
        Unit::Number | Unit::Seconds => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::TableLine;
    use super::*;

    fn table(share: f64, bytes: f64, coefficient: f64) -> Table {
        let cells = [(share, Unit::Share), (bytes, Unit::Bytes), (coefficient, Unit::Number)];
        Table {
            id: "methods".to_owned(),
            title: "Methods".to_owned(),
            note: String::new(),
            columns: ["single task", "bytes per task", "alpha"].map(str::to_owned).to_vec(),
            rows: vec![TableLine {
                name: "dense".to_owned(),
                cells: cells.map(|(mean, unit)| Cell::of(&[mean - 0.01, mean + 0.01], unit)).to_vec(),
            }],
        }
    }

    #[test]
    fn two_evaluations_agree_within_the_tolerance_and_say_where_they_do_not() {
        let expected = [table(0.8, 1000.0, 0.3)];
        assert_eq!(disagreements(&[table(0.83, 1049.0, 0.9)], &expected), [""; 0], "spread and tolerance");
        let found = disagreements(&[table(0.75, 1100.0, 0.3)], &expected);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`Methods`, dense, single task: 75.0 "), "{found:?}");
        assert!(found[1].contains("bytes per task"), "{found:?}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let whole = table(0.8, 1000.0, 0.3);
        let said = |change: fn(&mut Table)| {
            let mut found = whole.clone();
            change(&mut found);
            disagreements(&[found], std::slice::from_ref(&whole)).join("\n")
        };
        assert!(said(|table| table.id = "other".to_owned()).contains("no table `Methods`"));
        assert!(said(|table| table.rows.clear()).contains("no row `dense`"));
        assert!(said(|table| table.columns[0] = "x".to_owned()).contains("no column `single task`"));
        assert!(said(|table| table.rows[0].cells[0].mean = None).contains("single task"));
    }
}
