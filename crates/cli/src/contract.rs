//! `civicmesh contract …`: drafting and checking what a department shares.

use crate::args::{ContractCommand, Format};
use crate::say::out;
use crate::{render, say};
use anyhow::{Context, Result};
use civicmesh_node::client::Client;
use civicmesh_node::completeness::band;
use civicmesh_node::contracts::{self, Checked};
use civicmesh_node::office::Purpose;
use serde_json::json;
use std::process::ExitCode;

pub fn run(command: ContractCommand) -> Result<ExitCode> {
    match command {
        ContractCommand::Draft { file, domain, product } => {
            let domain = domain.parse().context("--domain")?;
            let product = product.parse().context("--product")?;
            print!("{}", contracts::draft(&file, &domain, &product)?);
            eprintln!("fill in each TODO, then: civicmesh contract check FILE");
            Ok(ExitCode::SUCCESS)
        }
        ContractCommand::Check { files, format } => {
            let checked = contracts::check(&files);
            match format {
                Format::Table => checked.iter().for_each(describe),
                Format::Json => say::json(&checked.iter().map(as_json).collect::<Vec<_>>())?,
            }
            Ok(if checked.iter().all(Checked::ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        ContractCommand::Preview { node, product, format } => preview(&node, &product, format),
    }
}

fn describe(checked: &Checked) {
    for finding in &checked.findings {
        eprintln!("{finding}");
    }
    if checked.ok() {
        out!("{}: fit for use", checked.file.display());
        for sentence in &checked.learned {
            out!("  {sentence}");
        }
    } else {
        out!("{}: refused", checked.file.display());
    }
}

fn as_json(checked: &Checked) -> serde_json::Value {
    let findings: Vec<_> = checked
        .findings
        .iter()
        .map(|finding| {
            json!({
                "line": finding.line,
                "key": finding.key,
                "message": finding.message,
                "mend": finding.mend,
                "severity": format!("{:?}", finding.severity).to_lowercase(),
            })
        })
        .collect();
    json!({"file": checked.file, "ok": checked.ok(), "findings": findings, "learned": checked.learned})
}

fn preview(node: &str, product: &str, format: Format) -> Result<ExitCode> {
    let (zone, preview) = say::block_on(async {
        let mut client = Client::connect(node, Purpose::Admin, say::credentials()?)?;
        let zone = client.status().await?.time_zone;
        anyhow::Ok((zone, client.preview(product).await?))
    })?;
    match format {
        Format::Json => {
            let windows: Vec<_> = preview
                .windows
                .iter()
                .map(|window| {
                    json!({
                        "start": render::moment(&zone, window.start.0),
                        "end": render::moment(&zone, window.end.0),
                        "cells": window.cells,
                        "cells_suppressed": window.cells_suppressed,
                        "suppressed_share": band(window.suppressed_share),
                    })
                })
                .collect();
            say::json(&json!({"windows": windows, "windows_total": preview.windows_total}))?;
        }
        Format::Table => {
            let mut table = render::table(&["window", "cells", "suppressed", "share of observations suppressed"]);
            for window in &preview.windows {
                table.add_row([
                    render::moment(&zone, window.start.0),
                    window.cells.to_string(),
                    window.cells_suppressed.to_string(),
                    band(window.suppressed_share).to_owned(),
                ]);
            }
            out!("{table}");
            match preview.windows_total {
                0 => eprintln!("no window waits to leave the node"),
                total => {
                    eprintln!("{} of {total} windows shown; none of them has left the node", preview.windows.len())
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
