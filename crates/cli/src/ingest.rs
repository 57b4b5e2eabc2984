//! `civicmesh ingest …`: takes files in, shows how it goes, and says what became of them.

use crate::args::{Format, IngestArguments, IngestCommand, IngestSubcommand};
use crate::say::out;
use crate::{render, say};
use anyhow::{Context, Result};
use civicmesh_node::client::{Client, Complete, IngestEvent, IngestRequest, IngestSummary, Reject};
use civicmesh_node::office::Purpose;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Rejects shown on the terminal for one file; all of them are in the reject file.
const REJECTS_SHOWN_MAX: usize = 10;

pub fn run(command: IngestCommand) -> Result<ExitCode> {
    match command.undo {
        Some(IngestSubcommand::Undo { node, dataset, file }) => {
            let rows = say::block_on(async {
                let mut client = Client::connect(&node, Purpose::Ingest, say::credentials()?)?;
                anyhow::Ok(client.undo(&dataset, &file).await?)
            })?;
            out!("{}: {rows} rows taken back", say::shown(file.display()));
            Ok(ExitCode::SUCCESS)
        }
        None => say::block_on(ingest(command.ingest)),
    }
}

async fn ingest(arguments: IngestArguments) -> Result<ExitCode> {
    // Nothing is sent before every file is known to be there.
    for file in &arguments.files {
        file.metadata().with_context(|| missing(file, arguments.complete.as_ref()))?;
    }
    let node = arguments.node.expect("clap demands --node");
    let dataset = arguments.dataset.expect("clap demands --dataset");
    let mut client = Client::connect(&node, Purpose::Ingest, say::credentials()?)?;
    let zone = client.status().await?.time_zone;
    let mut summaries = Vec::new();
    let last = arguments.files.len() - 1;
    for (index, file) in arguments.files.into_iter().enumerate() {
        let complete = match &arguments.complete {
            Some(until) if index == last => until.clone().map_or(Complete::LastFull, Complete::Until),
            _ => Complete::No,
        };
        let request =
            IngestRequest { dataset: dataset.clone(), source: arguments.source.clone(), file: file.clone(), complete };
        let summary = match one_file(&mut client, &request).await {
            Ok(summary) => summary,
            Err(error) => {
                print_json(&summaries, arguments.format)?;
                return Err(error.context(file.display().to_string()));
            }
        };
        if arguments.format == Format::Table {
            say::line(describe(&file, &summary, &zone));
        }
        summaries.push((file, summary));
    }
    print_json(&summaries, arguments.format)?;
    let exceeded = summaries.iter().any(|(_, summary)| summary.rejects_exceeded);
    Ok(if exceeded { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print_json(summaries: &[(PathBuf, IngestSummary)], format: Format) -> Result<()> {
    match format {
        Format::Json => say::json(&summaries.iter().map(as_json).collect::<Vec<_>>()),
        Format::Table => Ok(()),
    }
}

/// A file that is not there; `--complete UNTIL` without its `=` is a likely reason.
fn missing(file: &Path, complete: Option<&Option<String>>) -> String {
    let file = file.display();
    match complete {
        Some(None) => format!("{file} cannot be read (a moment to complete up to is written --complete={file})"),
        _ => format!("{file} cannot be read"),
    }
}

/// Takes one file in under a progress bar; rejects go to the terminal as they come.
async fn one_file(client: &mut Client, request: &IngestRequest) -> Result<IngestSummary> {
    let name = file_name(&request.file);
    let bar = ProgressBar::new(request.file.metadata().context("cannot be read")?.len());
    bar.set_style(style("{prefix:>24} {bar:30} {bytes}/{total_bytes} {msg}"));
    bar.set_prefix(name.clone());
    let mut shown = 0;
    let mut news = |event: IngestEvent| follow(&bar, &name, event, &mut shown);
    let summary = client.ingest(request, &mut news).await;
    bar.finish_and_clear();
    Ok(summary?)
}

fn follow(bar: &ProgressBar, name: &str, event: IngestEvent, shown: &mut usize) {
    match event {
        IngestEvent::Uploaded { bytes, total } => {
            bar.set_length(total);
            bar.set_position(bytes);
        }
        IngestEvent::Rows { read, accepted, rejected, bytes, total } => {
            bar.set_length(total);
            bar.set_position(bytes);
            bar.set_message(format!("{read} rows read, {accepted} durable, {rejected} rejected"));
        }
        IngestEvent::Reject(reject) => {
            *shown += 1;
            match (*shown).cmp(&(REJECTS_SHOWN_MAX + 1)) {
                std::cmp::Ordering::Less => bar.suspend(|| eprintln!("{}", reject_line(name, &reject))),
                std::cmp::Ordering::Equal => bar.suspend(|| eprintln!("{name}: … further rejects are not shown")),
                std::cmp::Ordering::Greater => {}
            }
        }
    }
}

fn reject_line(name: &str, reject: &Reject) -> String {
    let Reject { line, column, value, reason } = reject;
    if column.is_empty() {
        format!("{name}:{line}: {reason}")
    } else {
        format!("{name}:{line}: {}: `{}`: {reason}", say::shown(column), say::shown(value))
    }
}

/// The house's progress bar.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a constant").progress_chars("━╸─")
}

fn describe(file: &Path, summary: &IngestSummary, zone: &str) -> String {
    let mut parts = vec![format!("{} rows accepted", summary.accepted.saturating_sub(summary.resumed))];
    for (count, what) in [
        (summary.resumed, "taken in earlier"),
        (summary.duplicate, "seen before"),
        (summary.corrected, "corrections"),
        (summary.filtered, "left out by the filter"),
        (summary.rejected, "rejected"),
        (summary.expired, "not kept: past their retention"),
        (summary.late, "late: their window was released before"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let mut text = format!("{}: {}", file_name(file), parts.join(", "));
    if let Some(through) = summary.closed_through {
        text.push_str(&format!("; closed through {}", render::moment(zone, through.0)));
    }
    if let Some(rejects) = &summary.reject_file {
        text.push_str(&format!("\n  rejected rows are kept in {}", say::shown(rejects)));
    }
    if summary.rejects_exceeded {
        text.push_str(
            "\n  more rejects than the contract's rejects_max allows; the accepted rows are stored all the same",
        );
    }
    for note in &summary.notes {
        text.push_str(&format!("\n  {note}"));
    }
    text
}

fn as_json((file, summary): &(PathBuf, IngestSummary)) -> serde_json::Value {
    let mut object = json!({"file": file});
    if let (Some(object), Ok(serde_json::Value::Object(fields))) =
        (object.as_object_mut(), serde_json::to_value(summary))
    {
        object.extend(fields);
    }
    object
}

fn file_name(file: &Path) -> String {
    say::shown(file.file_name().map_or_else(|| file.display().to_string(), |name| name.to_string_lossy().into_owned()))
}
