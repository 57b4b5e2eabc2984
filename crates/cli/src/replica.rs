//! `civicmesh replica …`: what a node holds of a peer's product.

use crate::args::ReplicaCommand;
use crate::say;
use crate::say::out;
use anyhow::{Context, Result};
use civicmesh_node::client::Client;
use civicmesh_node::model::names::ProductId;
use civicmesh_node::office::Purpose;
use std::process::ExitCode;

pub fn run(command: ReplicaCommand) -> Result<ExitCode> {
    let ReplicaCommand::Drop { node, product } = command;
    let product: ProductId = product.parse().context("--product")?;
    let entries = say::block_on(async {
        let mut client = Client::connect(&node, Purpose::Admin, say::credentials()?)?;
        anyhow::Ok(client.drop_replica(&product).await?)
    })?;
    out!("{entries} log entries of {product} are forgotten; it is pulled anew from {}", product.domain);
    Ok(ExitCode::SUCCESS)
}
