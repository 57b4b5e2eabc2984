//! The page: one file, without scripts and without anything from elsewhere.

use super::figures::{Chart, Figures, Graph, Section, Table};
use super::plot::{self, LINES_MAX, PlotError};
use super::words::{bytes, count, escaped, plain};
use super::{map, timeline};

/// Rows of a table that are printed; further ones are left to the JSON.
const ROWS_MAX: usize = 120;

/// The whole page.
pub(super) fn html(figures: &Figures) -> Result<String, PlotError> {
    let mut body = head(figures);
    let city = Graph {
        title: "The city's nodes and links".to_owned(),
        nodes: figures.nodes.clone(),
        links: figures.links.clone(),
        ..Graph::default()
    };
    if let Some(map) = map::svg(&city) {
        body += "<section><h2>The city</h2>";
        body += &figure(&map, &map_caption(figures), &[]);
        body += &table(&nodes(figures));
        body += "</section>";
    }
    if !figures.checks.is_empty() {
        body += &format!("<section><h2>What was checked</h2>{}</section>", checks(figures));
    }
    if let Some(drawn) = timeline::html(figures) {
        body += "<section><h2>What was broken, and when</h2>";
        body += &figure(&drawn, "Each bar is the time for which something was broken; the table tells the hours.", &[]);
        body += &details("Every fault", &table(&faults(figures)));
        body += "</section>";
    }
    for part in &figures.sections {
        body += &section(part)?;
    }
    if !figures.links.is_empty() {
        body += "<section><h2>Bytes on each link</h2>";
        body += &details("Every link, the busiest first", &table(&links(figures)));
        body += "</section>";
    }
    if !figures.notes.is_empty() {
        body += "<section><h2>How to read this</h2><ul>";
        figures.notes.iter().for_each(|note| body += &format!("<li>{}</li>", escaped(note)));
        body += "</ul></section>";
    }
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><title>{}</title>\
         <style>{}</style></head><body><main>{body}<footer>Seed {}. Every figure stands in <code>report.json</code> beside this \
         page. Made by <code>civicmesh-sim</code> {}.</footer></main></body></html>\n",
        escaped(&figures.title),
        include_str!("style.css"),
        figures.seed,
        civicmesh_node::VERSION,
    ))
}

fn head(figures: &Figures) -> String {
    let (class, word) = match figures.holds {
        Some(true) => ("holds", "Holds."),
        Some(false) => ("broken", "Does not hold."),
        None => ("found", "Found."),
    };
    let mut out = format!(
        "<header><p class=\"kicker\">civicmesh simulation</p><h1>{}</h1><p class=\"purpose\">{}</p><p class=\"verdict {class}\">\
         <strong>{}</strong> {}</p>",
        escaped(&figures.title),
        escaped(&figures.purpose),
        word,
        escaped(&figures.verdict)
    );
    if !figures.headlines.is_empty() {
        out += "<dl class=\"headlines\">";
        for headline in &figures.headlines {
            out += &format!("<div><dt>{}</dt><dd>{}</dd></div>", escaped(&headline.what), escaped(&headline.figure));
        }
        out += "</dl>";
    }
    out + "</header>"
}

fn section(part: &Section) -> Result<String, PlotError> {
    let mut out = format!("<section><h2>{}</h2>", escaped(&part.heading));
    part.paragraphs.iter().for_each(|paragraph| out += &format!("<p>{}</p>", escaped(paragraph)));
    if !part.graphs.is_empty() {
        out += "<div class=\"charts\">";
        for graph in &part.graphs {
            if let Some(drawn) = map::svg(graph) {
                out += &figure(&format!("<h3>{}</h3>{drawn}", escaped(&graph.title)), &graph.caption, &[]);
            }
        }
        out += "</div>";
    }
    if !part.charts.is_empty() {
        let class = if part.charts.len() == 1 { "charts one" } else { "charts" };
        out += &format!("<div class=\"{class}\">");
        for chart in &part.charts {
            if let Some(drawn) = plot::svg(chart)? {
                out += &chart_figure(chart, &drawn);
            }
        }
        out += "</div>";
    }
    part.tables.iter().for_each(|found| out += &table(found));
    Ok(out + "</section>")
}

fn chart_figure(chart: &Chart, drawn: &str) -> String {
    let left = chart.lines.len().saturating_sub(LINES_MAX);
    let names: Vec<&str> = chart.lines.iter().take(LINES_MAX).map(|line| line.name.as_str()).collect();
    let mut caption = chart.caption.clone();
    if left > 0 {
        caption += &format!(" {left} further lines are in report.json.");
    }
    let head = format!("<h3>{}</h3><p class=\"unit\">{}</p>", escaped(&chart.title), escaped(&chart.y.label));
    figure(&format!("{head}{drawn}"), &caption, &names)
}

fn figure(drawn: &str, caption: &str, names: &[&str]) -> String {
    let mut legend = String::new();
    if names.len() > 1 {
        legend += "<ul class=\"legend\">";
        for (at, name) in names.iter().enumerate() {
            legend += &format!("<li><span class=\"swatch s{}\"></span>{}</li>", at + 1, escaped(name));
        }
        legend += "</ul>";
    }
    format!("<figure>{drawn}{legend}<figcaption>{}</figcaption></figure>", escaped(caption))
}

fn details(summary: &str, content: &str) -> String {
    format!("<details><summary>{}</summary>{content}</details>", escaped(summary))
}

fn table(found: &Table) -> String {
    let mut out = format!("<div class=\"wide\"><table><caption>{}</caption><thead><tr>", escaped(&found.caption));
    for (at, column) in found.columns.iter().enumerate() {
        let figures = at > 0 && found.rows.first().and_then(|row| row.get(at)).is_some_and(|cell| is_figure(cell));
        let class = if figures { " class=\"n\"" } else { "" };
        out += &format!("<th scope=\"col\"{class}>{}</th>", escaped(column));
    }
    out += "</tr></thead><tbody>";
    for row in found.rows.iter().take(ROWS_MAX) {
        out += "<tr>";
        for (at, cell) in row.iter().enumerate() {
            out += &match at {
                0 => format!("<th scope=\"row\">{}</th>", escaped(cell)),
                _ => format!("<td{}>{}</td>", if is_figure(cell) { " class=\"n\"" } else { "" }, escaped(cell)),
            };
        }
        out += "</tr>";
    }
    out += "</tbody></table></div>";
    let left = found.rows.len().saturating_sub(ROWS_MAX);
    if left > 0 {
        out += &format!("<p class=\"note\">{left} further rows are in report.json.</p>");
    }
    found.notes.iter().for_each(|note| out += &format!("<p class=\"note\">{}</p>", escaped(note)));
    out
}

/// Whether a cell stands to the right, as figures do.
fn is_figure(cell: &str) -> bool {
    cell.starts_with(|first: char| first.is_ascii_digit() || first == '-' || first == '<')
        || matches!(cell, "none" | "")
}

fn checks(figures: &Figures) -> String {
    let mut out = String::from("<ul class=\"checks\">");
    for check in &figures.checks {
        let (class, word) = if check.held { ("held", "held") } else { ("failed", "did not hold") };
        out += &format!(
            "<li class=\"{class}\"><p><strong>{}</strong> <span class=\"badge\">{word}</span></p><p>{}</p><p class=\"note\">\
             looked at {} {}</p></li>",
            escaped(&check.name),
            escaped(&check.finding),
            count(check.looked_at),
            escaped(&check.of)
        );
    }
    out + "</ul>"
}

fn map_caption(figures: &Figures) -> String {
    let passed: u64 = figures.links.iter().map(|link| link.bytes).sum();
    format!(
        "{} nodes, one a department. A dot is larger where its node took in more rows; a line is thicker where more bytes passed, {} \
         in all.",
        figures.nodes.len(),
        bytes(passed as f64)
    )
}

fn nodes(figures: &Figures) -> Table {
    let columns = ["Domain", "What it measures", "Rows taken in", "Rejected", "Had already", "Starts", "Stored"];
    let row = |node: &super::figures::NodeFigures| {
        let numbers = [node.rows, node.rejected, node.duplicates, node.starts].map(count);
        let stored = node.stored_bytes.map_or("not measured".to_owned(), |stored| bytes(stored as f64));
        [node.domain.clone(), node.kind.clone()].into_iter().chain(numbers).chain([stored]).collect()
    };
    Table {
        caption: "The nodes".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: figures.nodes.iter().map(row).collect(),
        notes: Vec::new(),
    }
}

fn faults(figures: &Figures) -> Table {
    let hour = |hours: f64| plain((hours * 10.0).round() / 10.0);
    let row =
        |fault: &super::figures::FaultSpan| vec![fault.what.clone(), hour(fault.from_hours), hour(fault.until_hours)];
    Table {
        caption: "Faults, in the order in which they began".to_owned(),
        columns: ["What", "From hour", "Until hour"].map(str::to_owned).to_vec(),
        rows: figures.faults.iter().map(row).collect(),
        notes: Vec::new(),
    }
}

fn links(figures: &Figures) -> Table {
    let mut sorted = figures.links.clone();
    sorted.sort_by(|one, other| {
        other.bytes.cmp(&one.bytes).then_with(|| (&one.from, &one.to).cmp(&(&other.from, &other.to)))
    });
    Table {
        caption: "Bytes from one node to another".to_owned(),
        columns: ["From", "To", "Bytes"].map(str::to_owned).to_vec(),
        rows: sorted.into_iter().map(|link| vec![link.from, link.to, bytes(link.bytes as f64)]).collect(),
        notes: Vec::new(),
    }
}
