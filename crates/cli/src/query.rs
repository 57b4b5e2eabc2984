//! `civicmesh query`: one question across the whole city, and what the answer is missing.

use crate::args::{AnswerFormat, Cut, QueryCommand};
use crate::say::out;
use crate::say::{self, Exit};
use crate::{completeness, render};
use anyhow::Result;
use civicmesh_node::client::{Client, ClientError, QueryAnswer};
use civicmesh_node::office::Purpose;
use civicmesh_node::query::{QueryOptions, WindowCut};
use std::process::ExitCode;

pub fn run(command: &QueryCommand) -> Result<ExitCode> {
    let (zone, answer) = say::block_on(async {
        let mut client = Client::connect(&command.node, Purpose::Query, say::credentials()?)?;
        let answer = client.query(&command.sql, &options(command)).await.map_err(plain)?;
        let zone = client.status().await?.time_zone;
        anyhow::Ok((zone, answer))
    })?;
    print(&answer, &zone, command.format)?;
    Ok(ExitCode::SUCCESS)
}

fn options(command: &QueryCommand) -> QueryOptions {
    let window_cut = match command.window_cut {
        Cut::Error => WindowCut::Error,
        Cut::Inside => WindowCut::Inside,
        Cut::Covering => WindowCut::Covering,
    };
    QueryOptions {
        require_complete: command.require_complete,
        staleness_us_max: command.max_staleness,
        coverage_min: command.min_coverage,
        window_cut,
    }
}

fn print(answer: &QueryAnswer, zone: &str, format: AnswerFormat) -> Result<()> {
    let mut footer = completeness::footer(&answer.completeness, zone);
    for notice in &answer.notices {
        footer.push_str(&format!("\nnote: {notice}"));
    }
    match format {
        AnswerFormat::Table => {
            say::line(render::rows(&answer.schema, &answer.batches)?);
            if let Some(legend) = render::legend(&answer.schema) {
                out!("{legend}");
            }
            if !footer.is_empty() {
                out!("\n{footer}");
            }
        }
        AnswerFormat::Json => {
            let rows = render::json_rows(&answer.batches)?;
            let completeness = serde_json::to_string_pretty(&civicmesh_node::completeness::json(&answer.completeness))?;
            let notices = serde_json::to_string(&answer.notices)?;
            out!("{{\"rows\": {rows},\n\"completeness\": {completeness},\n\"notices\": {notices}}}");
        }
        AnswerFormat::Csv => {
            render::csv(&answer.batches, std::io::stdout().lock())?;
            if !footer.is_empty() {
                eprintln!("{footer}");
            }
        }
        AnswerFormat::Parquet => {
            render::parquet(&answer.schema, &answer.batches, std::io::stdout())?;
            if !footer.is_empty() {
                eprintln!("{footer}");
            }
        }
    }
    Ok(())
}

/// A node's refusal in plain words, with what can be asked instead; an answer that falls short of what was demanded has its own exit code.
pub fn plain(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Incomplete { message } => Exit { code: say::INCOMPLETE, message }.into(),
        ClientError::Refused { message, instead: Some(instead), .. } => {
            anyhow::anyhow!("{message}\n  instead: {instead}")
        }
        other => other.into(),
    }
}
