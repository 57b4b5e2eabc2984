//! How many answers a second a running node gives to many clients over PostgreSQL's wire and TLS, each on a connection
//! of its own that asks for a district's day at a time. `tests/figures/reading.py` runs it beside the node; one JSON
//! object a line. The client speaks just as much of the protocol as that takes, so that it takes little of the machine.
//!
//! ```text
//! wire HOST:PORT NODE_DIR DAYS simple|extended
//! ```
#![allow(missing_docs)]
// a figure is a time, and the client is no node
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::time::{Duration, Instant};

use civicmesh_exchange::link::BoxedIo;
use civicmesh_exchange::tls::Guest;
use civicmesh_node::Environment;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const CLIENTS: u64 = 64;
const ASKING: Duration = Duration::from_secs(10);
const DISTRICTS: u64 = 16;
const START: &str = "2025-01-01";

/// How a question is sent.
#[derive(Clone, Copy)]
enum Way {
    /// As one text, its constants in it.
    Simple,
    /// Prepared once a connection; its constants are parameters.
    Extended,
}

/// One connection, logged in.
struct Client {
    line: BufReader<BoxedIo>,
    message: Vec<u8>,
}

impl Client {
    async fn open(address: &str, guest: &Guest, token: &str) -> Self {
        let mut line = TcpStream::connect(address).await.expect("the node listens");
        line.set_nodelay(true).expect("TCP");
        line.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.expect("asked for TLS");
        assert_eq!(line.read_u8().await.expect("an answer"), b'S', "TLS is offered");
        let line = guest.connect(Box::new(line)).await.expect("TLS");
        let mut client = Self { line: BufReader::with_capacity(64 << 10, line), message: Vec::new() };
        let mut startup = vec![0, 3, 0, 0];
        startup.extend_from_slice(b"user\0anyone\0database\0city\0\0");
        let length = (startup.len() as u32 + 4).to_be_bytes();
        client.send([&length[..], &startup].concat()).await;
        assert_eq!(client.receive().await, b'R', "a password is asked for");
        client.send(framed(b'p', format!("{token}\0").as_bytes())).await;
        client.until_ready().await;
        client
    }

    async fn send(&mut self, bytes: Vec<u8>) {
        self.line.write_all(&bytes).await.expect("sent");
        self.line.flush().await.expect("sent");
    }

    /// The kind of the next message.
    async fn receive(&mut self) -> u8 {
        let kind = self.line.read_u8().await.expect("a message");
        let length = self.line.read_u32().await.expect("a message") as usize - 4;
        self.message.resize(length, 0);
        self.line.read_exact(&mut self.message).await.expect("a message");
        assert_ne!(kind, b'E', "{}", String::from_utf8_lossy(&self.message));
        kind
    }

    /// How many rows came until the node is ready for more.
    async fn until_ready(&mut self) -> usize {
        let mut rows = 0;
        loop {
            match self.receive().await {
                b'D' => rows += 1,
                b'Z' => return rows,
                _ => {}
            }
        }
    }
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn question(place: &str, from: &str, until: &str) -> String {
    format!(
        "SELECT date_trunc('hour', time), avg(speed) FROM traffic.flow WHERE district = {place} \
         AND time >= {from} AND time < {until} GROUP BY 1"
    )
}

/// Asks until the time is over; how long each answer took, in milliseconds.
async fn ask(mut client: Client, mut dice: ChaCha8Rng, days: u64, way: Way, begun: Instant) -> Vec<f64> {
    let start: chrono::NaiveDate = START.parse().expect("a date");
    if let Way::Extended = way {
        // no types are said: the node tells them
        let parse = [b"day\0", question("$1", "$2", "$3").as_bytes(), &[0, 0, 0]].concat();
        client.send([framed(b'P', &parse), framed(b'S', &[])].concat()).await;
        client.until_ready().await;
    }
    let mut times = Vec::new();
    while begun.elapsed() < ASKING {
        let day = start + chrono::Days::new(dice.next_u64() % days);
        let place = format!("district {:02}", dice.next_u64() % DISTRICTS);
        let (from, until) = (format!("{day} 00:00:00"), format!("{} 00:00:00", day + chrono::Days::new(1)));
        let message = match way {
            Way::Simple => {
                let quoted = |text: &str| format!("'{text}'");
                let sql = question(&quoted(&place), &quoted(&from), &quoted(&until));
                framed(b'Q', format!("{sql}\0").as_bytes())
            }
            Way::Extended => {
                let mut bind = b"\0day\0\0\0\0\x03".to_vec();
                for value in [&place, &from, &until] {
                    bind.extend_from_slice(&(value.len() as u32).to_be_bytes());
                    bind.extend_from_slice(value.as_bytes());
                }
                bind.extend_from_slice(&[0, 0]);
                [framed(b'B', &bind), framed(b'E', &[0; 5]), framed(b'S', &[])].concat()
            }
        };
        let asked = Instant::now();
        client.send(message).await;
        assert_eq!(client.until_ready().await, 24, "an hour a row");
        times.push(asked.elapsed().as_secs_f64() * 1000.0);
    }
    times
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [address, home, days, way] = &arguments[..] else {
        // `cargo bench` of everything has no node for it
        return println!("wire HOST:PORT NODE_DIR DAYS simple|extended");
    };
    let way = if way == "extended" { Way::Extended } else { Way::Simple };
    let (home, days) = (Path::new(home), days.parse::<u64>().expect("a number"));
    let guest = Guest::load(&home.join("tls"), None, Environment::real().clock).expect("the city's certificate");
    let token = std::fs::read_to_string(home.join("tokens/query")).expect("a token");
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::open(address, &guest, token.trim()).await);
    }
    let begun = Instant::now();
    let asking = clients
        .into_iter()
        .zip(0..)
        .map(|(client, seed)| ask(client, ChaCha8Rng::seed_from_u64(seed), days, way, begun));
    let asking: Vec<_> = asking.map(tokio::spawn).collect();
    let mut times: Vec<f64> = Vec::new();
    for client in asking {
        times.extend(client.await.expect("a client ends"));
    }
    times.sort_by(f64::total_cmp);
    println!(
        "{{\"answers_a_second\": {:.0}, \"p99_ms\": {:.1}, \"client_cpu_seconds\": {:.1}}}",
        times.len() as f64 / begun.elapsed().as_secs_f64(),
        times[times.len() * 99 / 100],
        cpu_seconds(),
    );
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().collect();
    fields.iter().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
