//! How fast a ledger is read: makes the releases of a city out of drawn rows, writes what a rival needs beside them, and
//! asks. `tests/figures/reading.py` runs it, asks the rival, and sets both side by side; one JSON object a line.
//!
//! ```text
//! reading year FOLDER DAYS          one-minute windows of 16 districts; cells.csv
//! reading city FOLDER DAYS TIMES    three domains by hour; traffic.csv, requests.csv, air.csv (the first without TIMES
//!                                   times the rows, which are not written)
//! ```
#![allow(missing_docs)]
// a figure is a time, and is written to a file
#![allow(clippy::disallowed_methods)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use civicmesh_ledger::{Ledger, Options, Replica, SigningKey};
use civicmesh_model::contract::Contract;
use civicmesh_model::log::{Frontier, Head, leaf_hash};
use civicmesh_model::number::MeasureState;
use civicmesh_model::release::{Cell, Entry, MethodTag, Release, ReleaseCoverage, ShareBand};
use civicmesh_model::time::{UtcMicros, Zone};
use civicmesh_query::{Answer, CityView, Engine, Limits, QueryOptions, STACK_BYTES};
use mimalloc::MiMalloc;

/// As the node has it.
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

const DISTRICTS: usize = 16;
const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const START: &str = "2025-01-01T00:00:00Z";
/// Entries verified and admitted at a time.
const PAGE: usize = 1000;
/// Questions at a time, and for how long they are asked.
const CLIENTS: usize = 64;
const ASKING: Duration = Duration::from_secs(10);
/// How often a question is asked that is timed by itself.
const TURNS: usize = 9;

/// Splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// About normally distributed around `mean`, `spread` wide.
    fn around(&mut self, mean: i64, spread: i64) -> i64 {
        let sum: i64 = (0..4).map(|_| (self.next() % 2001) as i64 - 1000).sum();
        mean + sum * spread / 1155
    }
}

fn contract(id: &str, grain: &str, measures: &[(&str, u8)]) -> Contract {
    let (domain, product) = id.split_once('.').expect("a product");
    let of = |form: &dyn Fn(&str, u8) -> String| {
        measures.iter().map(|(name, decimals)| form(name, *decimals)).collect::<Vec<_>>()
    };
    let properties = of(&|name, _| format!("  - {{name: {name}, logicalType: number, description: d}}\n")).concat();
    let terms = of(&|name, decimals| format!("{name}: {{unit: \"1\", decimals: {decimals}}}")).join(", ");
    let columns = of(&|name, _| format!("{name}: number")).join(", ");
    let yaml = format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: {id}\nversion: 1.0.0\nstatus: active\ndomain: {domain}\n\
         description: {{purpose: p}}\nschema:\n- name: {product}\n  properties:\n  \
         - {{name: time, logicalType: timestamp, description: d}}\n  \
         - {{name: district, logicalType: string, description: d}}\n{properties}\
         customProperties:\n- property: civicmesh.terms\n  value:\n    \
         windows: {{grain: {grain}, start: 2025-01-01, lateness: 1 day}}\n    measures: {{{terms}}}\n    \
         disclosure: {{method: open, reason: r, approver: a}}\n    audience: city\n    \
         retention: {{raw: 20 years, releases: 20 years}}\n- property: civicmesh.dataset\n  value:\n    \
         time: {{column: time, zone: UTC}}\n    columns: {{time: timestamp, district: text, {columns}}}\n"
    );
    Contract::parse(&yaml, "figures.yaml").unwrap_or_else(|findings| panic!("{findings:#?}\n{yaml}")).0
}

/// An owner's log on its way to a node that keeps a replica.
struct Log<'a> {
    ledger: &'a Ledger,
    contract: Contract,
    signing: SigningKey,
    frontier: Frontier,
    page: Vec<Vec<u8>>,
    closed_through: UtcMicros,
}

impl<'a> Log<'a> {
    fn new(ledger: &'a Ledger, contract: Contract) -> Self {
        let public = Contract::from_public(contract.public_document()).expect("a public document");
        let now = now();
        ledger.adopt_contract(&public, now).expect("a contract is adopted");
        let signing = SigningKey::from_pkcs8(&SigningKey::document(&[7; 32])).expect("a key");
        let (frontier, page, closed_through) = (Frontier::new(), Vec::new(), UtcMicros::MIN);
        Self { ledger, contract, signing, frontier, page, closed_through }
    }

    /// Releases a window of cells by district: of each its observations and states.
    fn release(&mut self, start: UtcMicros, length: i64, cells: &[(u64, Vec<MeasureState>)], salt: &mut Dice) {
        let end = UtcMicros(start.0 + length);
        let cells = cells.iter().enumerate().filter(|(_, (observations, _))| *observations > 0);
        let cells: Vec<Cell> = cells
            .map(|(place, (observations, measures))| Cell {
                coordinate: vec![district(place)],
                observations: *observations,
                measures: measures.clone(),
                sketches: Vec::new(),
            })
            .collect();
        let measures = self.contract.measures.iter();
        let release = Release {
            product: self.contract.product.clone(),
            window: civicmesh_model::grain::Window { start, end },
            revision: 0,
            contract: self.contract.hash(),
            method: MethodTag::Open,
            closed_through: end,
            dimensions: vec!["district".to_owned()],
            measures: measures.clone().map(|measure| measure.name.clone()).collect(),
            decimals: measures.map(|measure| measure.decimals).collect(),
            sketches: Vec::new(),
            coverage: ReleaseCoverage { observations: cells.iter().map(|cell| cell.observations).sum(), sources: 1 },
            cells,
            suppressed: Vec::new(),
            suppressed_share: ShareBand::None,
            salt: std::array::from_fn(|_| salt.next() as u8),
        };
        let bytes = Entry::Release(release).encode();
        self.frontier.append(leaf_hash(&bytes));
        self.closed_through = end;
        self.page.push(bytes);
        if self.page.len() == PAGE {
            self.admit();
        }
    }

    fn admit(&mut self) {
        let head = self.signing.sign(Head {
            product: self.contract.product.clone(),
            size: self.frontier.size(),
            root: self.frontier.root(),
            closed_through: self.closed_through,
            at: now(),
        });
        let cursor = self.ledger.cursor(&self.contract.product).expect("a cursor");
        let page = std::mem::take(&mut self.page);
        let key = self.signing.verifying_key();
        let replica = Replica::verify(self.ledger, cursor, page, head, &key, now()).expect("a page verifies");
        self.ledger.admit(replica, now()).expect("a page is admitted");
        while self.ledger.merge_some().expect("merging") {}
    }
}

fn district(place: usize) -> String {
    format!("district {place:02}")
}

fn now() -> UtcMicros {
    "2026-06-01T00:00:00Z".parse().expect("a time")
}

fn start() -> UtcMicros {
    START.parse().expect("a time")
}

fn open(folder: &Path) -> Arc<Ledger> {
    let zone: Zone = "UTC".parse().expect("a zone");
    let options =
        Options { domain: "parks".parse().expect("a name"), zone, environment: Default::default(), hook: None };
    Arc::new(Ledger::open(&folder.join("ledger"), options).expect("a ledger opens"))
}

fn engine(ledger: &Arc<Ledger>) -> Engine {
    let city = CityView {
        name: "city".to_owned(),
        zone: "UTC".parse().expect("a zone"),
        domain: "parks".parse().expect("a name"),
    };
    let helpers = std::thread::available_parallelism().expect("a machine with cores").get() - 1;
    Engine::new(Arc::clone(ledger), city, Limits { helpers, ..Limits::default() }).expect("an engine")
}

async fn ask(engine: &Engine, sql: &str) -> Answer {
    let answer = engine.query(sql, now(), &QueryOptions::default()).await;
    let answer = answer.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    assert!(answer.completeness.iter().all(|product| product.windows_open == 0), "{:?}", answer.completeness);
    answer
}

fn table(answer: &Answer) -> String {
    arrow::util::pretty::pretty_format_batches(&answer.batches).expect("an answer is text").to_string()
}

/// How long a question takes, in milliseconds.
struct Took {
    first: f64,
    median: f64,
    /// Processor time of one answer, of all but the first.
    cpu: f64,
}

/// Asks each of the engines in turn.
async fn time(engines: &[&Engine], sql: &str) -> (Took, String) {
    let mut times = Vec::new();
    let mut told = None;
    let mut cpu = 0.0;
    for (turn, engine) in engines.iter().enumerate() {
        let begun = Instant::now();
        told = Some(ask(engine, sql).await);
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        if turn == 0 {
            cpu = cpu_ms();
        }
    }
    let (first, cpu) = (times[0], (cpu_ms() - cpu) / (engines.len() - 1) as f64);
    times.sort_by(f64::total_cmp);
    (Took { first, median: times[times.len() / 2], cpu }, told.as_ref().map(table).unwrap_or_default())
}

/// Processor time of this process so far, in milliseconds: Linux counts it in hundredths of a second.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields =
        stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    fields.iter().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10.0
}

/// Answers a second and the 99th percentile in milliseconds, of clients that each ask for a district's day at a time.
async fn load(engine: Arc<Engine>, product: &'static str, measure: &'static str, days: i64) -> (f64, f64) {
    let begun = Instant::now();
    let clients = (0..CLIENTS).map(|client| {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move {
            let mut dice = Dice(client as u64);
            let mut times = Vec::new();
            while begun.elapsed() < ASKING {
                let day = start().0 + (dice.next() % days as u64) as i64 * DAY;
                let place = district((dice.next() % DISTRICTS as u64) as usize);
                let sql = format!(
                    "SELECT date_trunc('hour', time), avg({measure}) FROM {product} WHERE district = '{place}' \
                     AND time >= '{}' AND time < '{}' GROUP BY 1",
                    text(day),
                    text(day + DAY),
                );
                let asked = Instant::now();
                ask(&engine, &sql).await;
                times.push(asked.elapsed().as_secs_f64() * 1000.0);
                tokio::task::yield_now().await;
            }
            times
        })
    });
    let mut times: Vec<f64> = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        times.extend(client.await.expect("a client ends"));
    }
    times.sort_by(f64::total_cmp);
    (times.len() as f64 / begun.elapsed().as_secs_f64(), times[times.len() * 99 / 100])
}

fn text(at: i64) -> String {
    let text = UtcMicros(at).to_string();
    text.trim_end_matches('Z').replace('T', " ")
}

fn csv(folder: &Path, name: &str) -> BufWriter<File> {
    BufWriter::new(File::create(folder.join(name)).expect("a file"))
}

/// Has a file on disk, so that nothing is written while questions are timed.
fn settle(out: BufWriter<File>) {
    out.into_inner().expect("written").sync_all().expect("written");
}

/// One-minute windows: each district has about 25 sensors that report in a minute.
async fn year(folder: &Path, days: i64) {
    let ledger = open(folder);
    let mut log = Log::new(&ledger, contract("traffic.flow", "1 minute", &[("speed", 1), ("vehicles", 0)]));
    let (mut dice, mut out) = (Dice(1), csv(folder, "cells.csv"));
    let states = "count,sum,sum_squares,min,max".split(',');
    let columns =
        ["speed", "vehicles"].map(|measure| states.clone().map(|s| format!(",{measure}_{s}")).collect::<String>());
    writeln!(out, "time,district,observations{}", columns.concat()).expect("written");
    for minute in 0..days * 24 * 60 {
        let at = UtcMicros(start().0 + minute * MINUTE);
        let rush = ((minute / 60 % 24 - 12).abs() * 12) + 300;
        let cells: Vec<_> = (0..DISTRICTS)
            .map(|place| {
                let observations = dice.around(25, 3).max(1) as u64;
                let mut states = vec![MeasureState::default(); 2];
                for _ in 0..observations {
                    let speed = dice.around(rush + 10 * place as i64, 80).max(0);
                    states[0].observe(speed).expect("a value");
                    states[1].observe(dice.around(12, 4).max(0)).expect("a value");
                }
                (observations, states)
            })
            .collect();
        for (place, (observations, states)) in cells.iter().enumerate() {
            write!(out, "{},{},{observations}", text(at.0), district(place)).expect("written");
            for MeasureState { count, sum, sum_squares, min, max } in states {
                write!(out, ",{count},{sum},{sum_squares},{},{}", min.unwrap_or(0), max.unwrap_or(0)).expect("written");
            }
            writeln!(out).expect("written");
        }
        log.release(at, MINUTE, &cells, &mut dice);
    }
    log.admit();
    settle(out);
    ledger.flush().expect("flushed");
    let month =
        "SELECT date_trunc('month', time) AS month, district, avg(speed) FROM traffic.flow GROUP BY 1, 2 ORDER BY 1, 2";
    // engines that keep nothing of what another one answered
    let anew: Vec<Engine> = (0..TURNS).map(|_| engine(&ledger)).collect();
    let (anew, _) = time(&anew.iter().collect::<Vec<_>>(), month).await;
    let engine = Arc::new(engine(&ledger));
    let (again, told) = time(&[engine.as_ref(); TURNS], month).await;
    std::fs::write(folder.join("month.txt"), told).expect("written");
    let (answers, p99_ms) = load(Arc::clone(&engine), "traffic.flow", "speed", days).await;
    let cells = days * 24 * 60 * DISTRICTS as i64;
    println!(
        "{{\"cells\": {cells}, \"ledger_bytes\": {}, \"month_first_ms\": {:.2}, \"month_ms\": {:.2}, \"month_cpu_ms\": {:.1}, \"month_again_ms\": {:.2}, \"month_again_cpu_ms\": {:.1}, \"day_answers_a_second\": {answers:.0}, \"day_p99_ms\": {p99_ms:.1}}}",
        ledger.size_bytes().expect("a size"),
        anew.first,
        anew.median,
        anew.cpu,
        again.median,
        again.cpu,
    );
}

/// One product of a domain, by hour and district, out of rows of one measure.
fn domain(ledger: &Ledger, folder: &Path, id: &str, measure: &str, rows: u64, days: i64, times: u64) {
    let mut log = Log::new(ledger, contract(id, "1 hour", &[(measure, 1)]));
    let mut out = (times == 1).then(|| csv(folder, &format!("{}.csv", id.split('.').next().expect("a domain"))));
    if let Some(out) = &mut out {
        writeln!(out, "time,sensor,district,{measure}").expect("written");
    }
    let mut dice = Dice(rows);
    let hours = days * 24;
    for hour in 0..hours {
        let at = UtcMicros(start().0 + hour * HOUR);
        let mut cells = vec![(0, vec![MeasureState::default()]); DISTRICTS];
        let of_hour = times * rows * (hour as u64 + 1) / hours as u64 - times * rows * hour as u64 / hours as u64;
        for _ in 0..of_hour {
            let sensor = dice.next() % 2000;
            let place = (sensor % DISTRICTS as u64) as usize;
            let value = dice.around(500 + hour % 24 * 10, 90).max(0);
            cells[place].0 += 1;
            cells[place].1[0].observe(value).expect("a value");
            if let Some(out) = &mut out {
                let when = text(at.0 + (dice.next() % HOUR as u64) as i64 / 1_000_000 * 1_000_000);
                writeln!(out, "{when},{sensor},{},{}.{}", district(place), value / 10, value % 10).expect("written");
            }
        }
        log.release(at, HOUR, &cells, &mut dice);
    }
    log.admit();
    if let Some(out) = out {
        settle(out);
    }
}

async fn city(folder: &Path, days: i64, times: u64) {
    let ledger = open(folder);
    domain(&ledger, folder, "traffic.flow", "speed", 5_000_000 * days as u64 / 30, days, times);
    domain(&ledger, folder, "requests.calls", "delay", 500_000 * days as u64 / 30, days, times);
    domain(&ledger, folder, "air.quality", "pm", 250_000 * days as u64 / 30, days, times);
    let engine = Arc::new(engine(&ledger));
    let part = |name: &str, product: &str, says: &str| {
        format!(
            "{name} AS (SELECT district, date_trunc('hour', time) AS hour, {says} AS {name} FROM {product} \
             WHERE time >= '{}' AND time < '{}' GROUP BY 1, 2)",
            text(start().0),
            text(start().0 + days * DAY),
        )
    };
    let sql = format!(
        "WITH {}, {}, {} SELECT district, hour, speed, calls, pm FROM speed JOIN calls USING (district, hour) \
         JOIN pm USING (district, hour) ORDER BY 1, 2",
        part("speed", "traffic.flow", "avg(speed)"),
        part("calls", "requests.calls", "count(*)"),
        part("pm", "air.quality", "max(pm)"),
    );
    let (join, told) = time(&[engine.as_ref(); TURNS], &sql).await;
    std::fs::write(folder.join("join.txt"), told).expect("written");
    let (answers, p99_ms) = load(Arc::clone(&engine), "traffic.flow", "speed", days).await;
    println!(
        "{{\"times\": {times}, \"join_first_ms\": {:.2}, \"join_ms\": {:.2}, \"join_cpu_ms\": {:.1}, \"day_answers_a_second\": {answers:.0}, \"day_p99_ms\": {p99_ms:.1}}}",
        join.first, join.median, join.cpu,
    );
}

fn main() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).thread_stack_size(STACK_BYTES).enable_all().build().expect("threads");
    runtime.block_on(async { tokio::spawn(read()).await.expect("questions are answered") });
}

async fn read() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |place: usize| arguments[place].parse::<u64>().expect("a number");
    match arguments.first().map(String::as_str) {
        Some("year") => year(Path::new(&arguments[1]), number(2) as i64).await,
        Some("city") => city(Path::new(&arguments[1]), number(2) as i64, number(3)).await,
        // `cargo bench` of everything has no folder for it
        _ => println!("reading year FOLDER DAYS | reading city FOLDER DAYS TIMES"),
    }
}
