//! PostgreSQL's wire: the city in SQL for what speaks with PostgreSQL, that is, for nearly everything.
//!
//! `pgwire` speaks the protocol, `arrow-pg` writes most values, `datafusion-pg-catalog` (inside the engine) is the
//! catalogue. Every question goes through the engine and its rule; what is here is about connections alone.

mod cell;
mod client;
mod command;
mod connection;
mod copy;
mod cursor;
mod failure;
mod handler;
mod line;
mod names;
mod opening;
mod pieces;
mod rows;
mod running;
mod settings;
mod shelved;
mod startup;
mod statement;

use std::sync::Arc;

use civicmesh_exchange::link::Listener;
use futures::StreamExt;
use tokio_util::task::TaskTracker;

use self::connection::Service;
use super::server::bounds;
use crate::compose::Parts;
use crate::listener::accept;

/// Serves PostgreSQL's wire on `listener` until the node stops; then ends once questions in flight have ended.
pub(crate) async fn serve(parts: Arc<Parts>, listener: Box<dyn Listener>) -> Result<(), String> {
    let service = Arc::new(Service::new(parts.clone(), !parts.config.postgres_is_loopback()));
    // TLS comes after a request for it: the listener does none
    let mut accepted = accept(listener, None, bounds(&parts), &parts.tasks.others, &parts.tasks.stop);
    let connections = TaskTracker::new();
    while let Some(connection) = accepted.next().await {
        if let Ok(connection) = connection {
            let service = service.clone();
            connections.spawn(async move { service.serve(Box::new(connection)).await });
        }
    }
    connections.close();
    connections.wait().await;
    Ok(())
}
