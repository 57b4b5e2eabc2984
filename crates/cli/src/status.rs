//! `civicmesh status`: the city as one node sees it.

use crate::args::{Format, StatusCommand};
use crate::say::out;
use crate::{render, say};
use anyhow::Result;
use civicmesh_node::client::Client;
use civicmesh_node::office::Purpose;
use civicmesh_node::status::{CityStatus, DomainStatus, LinkState, ProductStatus};
use std::process::ExitCode;

pub fn run(command: &StatusCommand) -> Result<ExitCode> {
    let status = say::block_on(async {
        let mut client = Client::connect(&command.node, Purpose::Admin, say::credentials()?)?;
        anyhow::Ok(client.status().await?)
    })?;
    match command.format {
        Format::Json => say::json(&status)?,
        Format::Table => print(&status),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(status: &CityStatus) {
    out!(
        "{} as {} sees it ({}, civicmesh {}, certificate for {} days)\n",
        status.city,
        status.domain,
        status.time_zone,
        status.node_version,
        status.certificate_days_left
    );
    let mut domains = render::table(&["domain", "address", "link", "certificate", "sent", "received"]);
    for domain in &status.domains {
        domains.add_row([
            domain.domain.to_string(),
            domain.address.clone(),
            link(domain, status.now.0),
            domain.certificate_days_left.map_or_else(String::new, |days| format!("{days} days")),
            render::bytes(domain.sent_bytes),
            render::bytes(domain.received_bytes),
        ]);
    }
    out!("{domains}\n");
    let mut products =
        render::table(&["product", "method", "newest window", "closed through", "head age", "log entries", "notes"]);
    for product in &status.products {
        let moment = |time: Option<civicmesh_node::model::time::UtcMicros>| {
            time.map_or_else(|| "–".to_owned(), |time| render::moment(&status.time_zone, time.0))
        };
        products.add_row([
            product.product.to_string(),
            product.method.clone(),
            moment(product.newest_window_start),
            moment(product.closed_through),
            product.head_age_us.map_or_else(String::new, render::stretch),
            product.entries.to_string(),
            notes(product),
        ]);
    }
    out!("{products}");
    if !status.sources.is_empty() {
        let mut sources = render::table(&["dataset", "source", "delivered up to", "files", "rows", "notes"]);
        for source in &status.sources {
            let watermark =
                source.watermark.map_or_else(|| "–".to_owned(), |at| render::moment(&status.time_zone, at.0));
            sources.add_row([
                source.dataset.to_string(),
                source.source.to_string(),
                watermark,
                source.files.to_string(),
                source.rows.to_string(),
                if source.idle { "idle: holds no window open".to_owned() } else { String::new() },
            ]);
        }
        out!("\n{sources}");
    }
}

fn link(domain: &DomainStatus, now_us: i64) -> String {
    match domain.link {
        LinkState::Own => "this node".to_owned(),
        LinkState::New => "not tried yet".to_owned(),
        LinkState::Reached => match domain.last_contact {
            Some(at) => format!("reached {} ago", render::stretch(now_us - at.0)),
            None => "reached".to_owned(),
        },
        LinkState::Unreachable => match domain.unreachable_since {
            Some(since) => format!("unreachable for {} ({})", render::stretch(now_us - since.0), domain.reason),
            None => format!("unreachable ({})", domain.reason),
        },
    }
}

fn notes(product: &ProductStatus) -> String {
    let mut notes = Vec::new();
    if !product.granted {
        notes.push(format!("not granted by {}", product.owner));
    }
    if product.draft {
        notes.push("draft: releases nothing".to_owned());
    }
    if let Some(late) = product.late_rows_held.filter(|late| *late > 0) {
        notes.push(format!("{late} late rows held"));
    }
    if let Some(rejects) = product.rejects.filter(|rejects| *rejects > 0) {
        notes.push(format!("{rejects} rows rejected"));
    }
    notes.extend(product.warnings.iter().cloned());
    notes.join("; ")
}
