//! The page of an evaluation: one file that opens without a network and without anything beside it.
//!
//! Tables, claims and pictures stand in it as they are; there is no script, and nothing is fetched.

mod pictures;

use std::fmt::Write as _;

use taskvec_packer::evaluate::{Claim, Costs, Results, Table};

use crate::picture::escape;

pub(crate) use pictures::{Picture, pictures};

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
p.note, td.name, th { color: #1c2430; } p.note { max-width: 60rem; color: #5a6472; }
div.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.92rem; }
th, td { padding: 0.3rem 0.8rem; text-align: right; border-bottom: 1px solid #e8ecf1; white-space: nowrap; }
th { vertical-align: bottom; white-space: normal; } td.name, th:first-child { text-align: left; }
td.best { font-weight: 600; } li.holds::marker { content: '\u{2713} '; } li.fails::marker { content: '\u{2717} '; }
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; } div.maps { display: flex; flex-wrap: wrap; gap: 0.5rem; }
div.maps figure { flex: 0 1 24rem; margin: 0; } code { overflow-wrap: anywhere; }
";

/// The whole page.
pub(crate) fn page(results: &Results, costs: &Costs, pictures: &[Picture]) -> String {
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{0}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
        escape(&results.suite)
    );
    // Writing to a String cannot fail below.
    if !results.about.is_empty() {
        let _ = writeln!(html, "<p>{}</p>", escape(&results.about));
    }
    let _ = writeln!(html, "<p class=\"note\">Base <code>{}</code>.</p>", escape(&results.base));
    if !results.claims.is_empty() {
        html.push_str("<h2>Claims</h2>\n<ul>\n");
        results.claims.iter().for_each(|one| claim(&mut html, one));
        html.push_str("</ul>\n");
    }
    for one in results.tables.iter().chain([&costs.table]) {
        table(&mut html, one);
        let of_table: Vec<&Picture> = pictures.iter().filter(|picture| picture.table == one.id).collect();
        if of_table.is_empty() {
            continue;
        }
        let class = if of_table.len() > 2 { " class=\"maps\"" } else { "" };
        let _ = writeln!(html, "<div{class}>");
        of_table.iter().for_each(|picture| {
            let _ = writeln!(html, "<figure>\n{}</figure>", picture.svg);
        });
        html.push_str("</div>\n");
    }
    html.push_str("</body>\n</html>\n");
    html
}

fn claim(html: &mut String, claim: &Claim) {
    let class = if claim.holds { "holds" } else { "fails" };
    let said = escape(&claim.to_string());
    // The verdict is bold in Markdown.
    let mut parts = said.splitn(3, "**");
    let said = match (parts.next(), parts.next(), parts.next()) {
        (Some(before), Some(verdict), Some(after)) => format!("{before}<strong>{verdict}</strong>{after}"),
        _ => said,
    };
    let _ = writeln!(html, "<li class=\"{class}\">{said}</li>");
}

fn table(html: &mut String, table: &Table) {
    let _ = writeln!(
        html,
        "<h2 id=\"{}\">{}</h2>\n<p class=\"note\">{}</p>\n<div class=\"wide\"><table>\n<thead><tr><th></th>",
        escape(&table.id),
        escape(&table.title),
        escape(&table.note)
    );
    table.columns.iter().for_each(|column| {
        let _ = write!(html, "<th>{}</th>", escape(column));
    });
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        let _ = write!(html, "<tr><td class=\"name\">{}</td>", escape(&row.name));
        for cell in &row.cells {
            let _ = write!(html, "<td>{}</td>", escape(&cell.to_string()));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
}
