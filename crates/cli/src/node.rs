//! `civicmesh node …`: a department's own node.

use crate::args::{Format, LogFormat, Logs, NodeCommand};
use crate::say::out;
use crate::{city, say};
use anyhow::{Context, Result};
use civicmesh_node::model::vault_id::VaultId;
use civicmesh_node::office::{self, NodeFolder};
use civicmesh_node::{CheckState, Environment, Node, Report, check, raise_open_files, termination};
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

pub fn run(command: NodeCommand, logs: &Logs) -> Result<ExitCode> {
    match command {
        NodeCommand::Request { dir, domain, listen, department, seed } => {
            let departure = city::departure(domain.as_deref(), listen.as_deref(), department.as_deref(), &seed)?;
            let folder = NodeFolder::new(&dir);
            let requested = office::request(&folder, &departure)?;
            let file = folder.request_file();
            let what =
                if requested.renewal { "asks for a new certificate" } else { "has its own keys, and asks to join" };
            out!("{} {what}: send {} to the city's office", requested.domain, file.display());
            out!("the office answers with `civicmesh city enroll OFFICE --request {}`", file.display());
            Ok(ExitCode::SUCCESS)
        }
        NodeCommand::Accept { dir, answer } => {
            let now = Environment::real().clock.now();
            let accepted = office::accept(&NodeFolder::new(&dir), &say::read(&answer)?, now)?;
            out!("{} is in {} ({})", accepted.domain, accepted.city, accepted.timezone);
            out!("compare with the office: the city's key has the fingerprint {}", accepted.fingerprint);
            city::next_step(&dir);
            Ok(ExitCode::SUCCESS)
        }
        NodeCommand::Check { dir, format } => {
            let report = check(&dir);
            match format {
                Format::Json => say::json(&report)?,
                Format::Table => describe(&report),
            }
            Ok(if report.fit() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        NodeCommand::Run { dir, rows_gone } => serve(&dir, rows_gone, logs),
    }
}

fn describe(report: &Report) {
    for check in &report.checks {
        let mark = match check.state {
            CheckState::Ok => "✓",
            CheckState::Warning => "!",
            CheckState::Failed => "✗",
        };
        out!("{mark} {}: {}", check.what, check.message);
        if !check.mend.is_empty() {
            out!("  {}", check.mend);
        }
    }
}

/// Runs the node until it is asked to stop, and stops it within its deadline.
fn serve(dir: &Path, rows_gone: Option<VaultId>, logs: &Logs) -> Result<ExitCode> {
    start_logs(logs)?;
    match raise_open_files() {
        Ok(files) => tracing::debug!(files, "files may be open"),
        Err(error) => tracing::warn!(%error, "the limit on open files could not be raised"),
    }
    quiet_panics();
    let runtime = civicmesh_node::runtime().context("no runtime")?;
    let outcome = runtime.block_on(async {
        let mut running = Node::start_stating(dir, Environment::real(), rows_gone).await?;
        let ended = tokio::select! {
            asked = termination() => asked.context("no signals"),
            error = running.failed() => Err(error.into()),
        };
        running.stop().await;
        ended.map(|()| ExitCode::SUCCESS)
    });
    // What is still blocked in a thread past the deadline is abandoned: all that was acknowledged is durable.
    runtime.shutdown_background();
    outcome
}

fn start_logs(logs: &Logs) -> Result<()> {
    let filter = EnvFilter::try_new(&logs.filter).with_context(|| format!("--log `{}`", logs.filter))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match logs.format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}

/// A panic's text may quote a value that some library choked on: the log gets the place and nothing else.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a thread panicked");
    }));
}
