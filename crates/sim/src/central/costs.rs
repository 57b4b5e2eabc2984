//! What one way costs while nothing is broken: measured on real nodes, then reckoned for the time that the city lives.
//!
//! Days are replayed in seconds, so what a cluster spends on asking its peers for what is new is measured by itself, while
//! nothing happens, and reckoned for as often as the scenario says; what the replay spent on it is taken out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use civicmesh_node::client::{ClientError, QueryAnswer};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::city::{City, Department};

use super::arm::{Arm, Way};
use super::meter::Reading;
use super::plan::{Energy, Terms};

/// How long the city is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(4);
/// Questions that are asked at the most of each kind; more are reckoned from these.
const QUESTIONS_MAX: u64 = 200;

/// How a node says that every cell which a question touches is suppressed.
const ALL_SUPPRESSED: &str = "ERROR_CODE_ALL_SUPPRESSED";

/// The files of a city on disk, so that drawing them is in no measurement.
pub(super) struct Files {
    folder: PathBuf,
    /// By department in the city's order, in the order in which they are sent.
    pub of: Vec<Vec<PathBuf>>,
    /// Rows that were written.
    pub rows: u64,
    /// Those of them that are about people.
    pub personal_rows: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The same under zstd.
    pub packed_bytes: u64,
}

impl Files {
    /// Writes the files of the city's first `hours` hours.
    pub(super) fn write(city: &City, hours: u32, folder: &Path) -> anyhow::Result<Files> {
        let mut files =
            Files { folder: folder.to_owned(), of: Vec::new(), rows: 0, personal_rows: 0, bytes: 0, packed_bytes: 0 };
        for of in &city.departments {
            let own = folder.join(&of.domain);
            fs::create_dir_all(&own).with_context(|| own.display().to_string())?;
            let mut written = Vec::new();
            for feed in of.feeds(city).take(hours as usize) {
                let feed = feed.with_context(|| of.domain.clone())?;
                let file = own.join(&feed.name);
                fs::write(&file, &feed.csv).with_context(|| file.display().to_string())?;
                files.rows += feed.rows;
                files.personal_rows += if of.personal { feed.rows } else { 0 };
                files.bytes += feed.csv.len() as u64;
                files.packed_bytes += packed_bytes(&feed.csv)?;
                written.push(file);
            }
            files.of.push(written);
        }
        Ok(files)
    }

    /// Removes them.
    pub(super) fn remove(self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.folder).with_context(|| self.folder.display().to_string())
    }
}

/// How many bytes zstd makes of these, at the level that Arrow takes.
fn packed_bytes(bytes: &[u8]) -> anyhow::Result<u64> {
    let schema = Arc::new(Schema::new(vec![Field::new("file", DataType::Binary, false)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(BinaryArray::from_vec(vec![bytes]))])?;
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD))?;
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &schema, options)?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?.len() as u64)
}

/// What a part of the run used.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Used {
    /// Processor seconds of all nodes and clients.
    pub cpu_s: f64,
    /// Bytes that crossed the network, TLS included.
    pub bytes: f64,
    /// Seconds on the clock.
    pub wall_s: f64,
    /// Joules of the processor package as it tells them; none where it does not.
    pub joules: Option<f64>,
}

/// Questions of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Asked {
    /// How many were asked.
    pub questions: u64,
    /// What they used.
    pub used: Used,
    /// How long each took, in microseconds, sorted; without the time that the network would have taken.
    pub latencies_us: Vec<u64>,
}

/// What one way cost.
#[derive(Clone, Debug, Serialize)]
pub struct Costs {
    /// Which way.
    pub way: Way,
    /// Departments.
    pub departments: u64,
    /// Machines: one for each node.
    pub machines: u64,
    /// Days that the city lived.
    pub days: f64,
    /// Rows that were sent.
    pub rows: u64,
    /// Rows about people that lay outside of their owner: by definition all of them, or none.
    pub personal_rows_outside: u64,
    /// Bytes of the raw files.
    pub raw_bytes: u64,
    /// The same under zstd.
    pub raw_packed_bytes: u64,
    /// Taking in all files and telling everyone, without the asking for what is new.
    pub feeding: Used,
    /// One node asking one peer for what is new, once, while there is nothing.
    pub round: Used,
    /// Questions about the department's own product.
    pub own: Asked,
    /// Questions that also touch a product of another department.
    pub city: Asked,
    /// Bytes on disk of raw rows.
    pub vault_bytes: u64,
    /// Bytes on disk of releases, own and pulled.
    pub ledger_bytes: u64,
    /// Pairs of a node and a product that it holds; and those of them that an answer used.
    pub held: u64,
    /// See `held`.
    pub held_used: u64,
}

/// What one way comes to over the time that the city lives.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Total {
    /// Bytes that crossed the network.
    pub crossing_bytes: f64,
    /// The same, had raw files been packed by zstd on their way.
    pub crossing_packed_bytes: f64,
    /// Processor seconds.
    pub cpu_s: f64,
    /// Joules: of busy cores and of bytes on their way.
    pub work_joules: f64,
    /// The same and what machines draw while nothing happens.
    pub all_joules: f64,
}

impl Costs {
    /// Runs the city one way and measures. The files are as they are for both ways.
    pub(super) async fn measure(
        way: Way,
        city: &City,
        files: &Files,
        terms: &Terms,
        folder: &Path,
    ) -> anyhow::Result<Costs> {
        let mut arm = Arm::start(way, city, folder).await?;
        let begun = Meter::start(&arm);
        feed(&mut arm, city, files).await?;
        let feeding = begun.used(&arm);
        let begun = Meter::start(&arm);
        sleep(IDLE).await;
        let idle = begun.used(&arm);
        let many = city.departments.len() as u64;
        let pairs = arm.pairs();
        let rounds = pairs as f64 * idle.wall_s / arm.pull_s;
        let round = if pairs == 0 { Used::default() } else { idle.times(1.0 / rounds) };
        let days = files.of.iter().map(Vec::len).max().unwrap_or(0) as f64 / 24.0;
        let mut touched = BTreeSet::new();
        let own = ask(&mut arm, city, terms, false, (days, round), &mut touched).await?;
        let whole = ask(&mut arm, city, terms, true, (days, round), &mut touched).await?;
        let replayed = pairs as f64 * feeding.wall_s / arm.pull_s;
        let feeding = feeding.without(round.times(replayed));
        arm.town.stop_all().await;
        let (vault_bytes, ledger_bytes) = arm.town.stored()?;
        arm.end().await?;
        Ok(Costs {
            way,
            departments: many,
            machines: if way == Way::Cluster { many } else { 1 },
            days,
            rows: files.rows,
            personal_rows_outside: if way == Way::Central { files.personal_rows } else { 0 },
            raw_bytes: files.bytes,
            raw_packed_bytes: files.packed_bytes,
            feeding,
            round,
            own,
            city: whole,
            vault_bytes,
            ledger_bytes,
            held: if way == Way::Cluster { many * many } else { many },
            held_used: touched.len() as u64,
        })
    }

    /// What it comes to, as often as the terms say.
    pub fn total(&self, terms: &Terms) -> Total {
        let asked = f64::from(terms.questions_per_day) * self.days * self.departments as f64;
        let each = |asked: &Asked, share: f64, times: f64| match asked.questions {
            0 => Used::default(),
            many => asked.used.times(times * share / many as f64),
        };
        let own = each(&self.own, 1.0 - terms.whole_city, asked);
        let whole = each(&self.city, terms.whole_city, asked);
        let pairs = if self.way == Way::Cluster { self.departments * (self.departments - 1) } else { 0 };
        let rounds = self.round.times(pairs as f64 * self.days * 86_400.0 / terms.pull_s);
        let parts = [self.feeding, rounds, own, whole];
        let crossing_bytes: f64 = parts.iter().map(|part| part.bytes).sum();
        let cpu_s: f64 = parts.iter().map(|part| part.cpu_s).sum();
        let saved = if self.way == Way::Central {
            (self.raw_bytes - self.raw_packed_bytes.min(self.raw_bytes)) as f64
        } else {
            0.0
        };
        let Energy { watts_busy_core, joules_byte, watts_idle_machine } = terms.energy;
        let work_joules = watts_busy_core * cpu_s + joules_byte * crossing_bytes;
        let idle = watts_idle_machine * self.machines as f64 * self.days * 86_400.0;
        Total {
            crossing_bytes,
            crossing_packed_bytes: crossing_bytes - saved,
            cpu_s,
            work_joules,
            all_joules: work_joules + idle,
        }
    }
}

impl Used {
    fn times(self, factor: f64) -> Used {
        Used {
            cpu_s: self.cpu_s * factor,
            bytes: self.bytes * factor,
            wall_s: self.wall_s * factor,
            joules: self.joules.map(|joules| joules * factor),
        }
    }

    /// Less what is known to be something else; never below nothing.
    fn without(self, other: Used) -> Used {
        Used {
            cpu_s: (self.cpu_s - other.cpu_s).max(0.0),
            bytes: (self.bytes - other.bytes).max(0.0),
            wall_s: self.wall_s,
            joules: self.joules,
        }
    }
}

/// All meters at one moment.
struct Meter {
    reading: Reading,
    bytes: u64,
    at: Instant,
}

impl Meter {
    fn start(arm: &Arm<'_>) -> Meter {
        Meter { reading: Reading::now(), bytes: arm.town.wires.bytes_all(), at: Instant::now() }
    }

    fn used(self, arm: &Arm<'_>) -> Used {
        let Reading { cpu_s, joules } = Reading::now().since(self.reading);
        let bytes = (arm.town.wires.bytes_all() - self.bytes) as f64;
        Used { cpu_s, bytes, wall_s: self.at.elapsed().as_secs_f64(), joules }
    }
}

/// Sends everything hour by hour, and waits until it is everywhere.
pub(super) async fn feed(arm: &mut Arm<'_>, city: &City, files: &Files) -> anyhow::Result<()> {
    let hours = files.of.iter().map(Vec::len).max().unwrap_or(0);
    for hour in 0..hours {
        for (of, own) in city.departments.iter().zip(&files.of) {
            let Some(file) = own.get(hour) else { continue };
            let sent = arm.send(of, file, hour + 1 == own.len()).await?;
            anyhow::ensure!(sent, "{} could not send {}, though nothing is broken", of.domain, file.display());
        }
    }
    let mut closed = BTreeMap::new();
    for of in &city.departments {
        let known =
            arm.knows(&of.domain).await.with_context(|| format!("the node of {} does not answer", of.domain))?;
        closed.insert(of.domain.clone(), known.get(&of.domain).copied().flatten());
    }
    let domains = || city.departments.iter().map(|of| of.domain.clone());
    let pairs: Vec<(String, String)> =
        domains().flat_map(|one| domains().map(move |other| (one.clone(), other))).collect();
    arm.converge(&pairs, &closed).await
}

/// Asks as many questions as the terms say, in turn of each department. What peers ask each other meanwhile is taken out.
async fn ask(
    arm: &mut Arm<'_>,
    city: &City,
    terms: &Terms,
    whole: bool,
    (days, round): (f64, Used),
    touched: &mut BTreeSet<(String, String)>,
) -> anyhow::Result<Asked> {
    let many = city.departments.len();
    let wanted = f64::from(terms.questions_per_day) * days * many as f64;
    let wanted = (wanted.ceil() as u64).clamp(many as u64, QUESTIONS_MAX.max(many as u64));
    let mut asked = Asked { questions: wanted, ..Asked::default() };
    let meter = Meter::start(arm);
    for number in 0..wanted as usize {
        let of = &city.departments[number % many];
        let other = &city.departments[(number + 1 + number / many) % many];
        let other = (whole && other.domain != of.domain).then_some(other);
        let sql = question(arm, of, other);
        let begun = Instant::now();
        answered(arm.ask(&of.domain, &sql).await).with_context(|| format!("{} asked: {sql}", of.domain))?;
        asked.latencies_us.push(begun.elapsed().as_micros() as u64);
        for part in std::iter::once(of).chain(other) {
            let at = if arm.way == Way::Cluster { of.domain.clone() } else { String::new() };
            touched.insert((at, part.domain.clone()));
        }
    }
    let used = meter.used(arm);
    asked.used = used.without(round.times(arm.pairs() as f64 * used.wall_s / arm.pull_s));
    asked.latencies_us.sort_unstable();
    Ok(asked)
}

/// The mean of a product by day; beside that of another.
pub(super) fn question(arm: &Arm<'_>, of: &Department, other: Option<&Department>) -> String {
    let by_day = |of: &Department| {
        let (measure, table) = (&of.measure, arm.table(of));
        format!("SELECT date_trunc('day', time) AS day, count(*) AS n, avg({measure}) AS mean FROM {table} GROUP BY 1")
    };
    match other {
        None => format!("{} ORDER BY 1", by_day(of)),
        Some(other) => format!(
            "SELECT a.day, a.mean AS one, b.mean AS other FROM ({}) AS a JOIN ({}) AS b USING (day) ORDER BY day",
            by_day(of),
            by_day(other)
        ),
    }
}

/// That everything is suppressed is an answer too.
pub(super) fn answered(answer: Result<QueryAnswer, ClientError>) -> Result<(), ClientError> {
    match answer {
        Err(ClientError::Refused { code, .. }) if code == ALL_SUPPRESSED => Ok(()),
        answer => answer.map(|_| ()),
    }
}
