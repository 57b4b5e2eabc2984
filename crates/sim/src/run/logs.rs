//! Listens to what nodes log, and searches every line for what must not be in it.

use std::io;
use std::sync::Arc;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use super::journal::Journal;
use crate::check::egress::{Needles, Search};

/// A subscriber that finds canaries in log lines.
pub fn listening(needles: Needles, journal: Arc<Journal>) -> impl Subscriber + Send + Sync {
    let listener = Listener { needles: Arc::new(needles), journal };
    let targets = Targets::new().with_default(LevelFilter::OFF);
    let targets = ["node", "exchange", "vault", "ledger", "query", "store", "disclosure"]
        .iter()
        .fold(targets, |targets, layer| targets.with_target(format!("civicmesh_{layer}"), LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(listener).without_time().with_ansi(false);
    tracing_subscriber::registry().with(targets).with(lines)
}

#[derive(Clone)]
struct Listener {
    needles: Arc<Needles>,
    journal: Arc<Journal>,
}

impl<'a> MakeWriter<'a> for Listener {
    type Writer = Listener;

    fn make_writer(&'a self) -> Listener {
        self.clone()
    }
}

impl io::Write for Listener {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for canary in Search::default().feed(&self.needles, line) {
            self.journal.find("egress", 0, format!("{canary} stands in a log line"));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
