//! The command line: names and meaning as documented; scripts rely on them.

use civicmesh_node::model::vault_id::VaultId;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

use crate::values::{age, share};

/// A city needs a cluster of brains, not one central brain: one node a department, raw observations stay at home,
/// only releases travel, and any node answers a question across the whole city.
#[derive(Debug, Parser)]
#[command(name = "civicmesh", version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    /// What to log: error, warn, info, debug, or a filter such as `civicmesh_exchange=debug`
    #[arg(long, global = true, default_value = "info", env = "CIVICMESH_LOG", help_heading = "Logging")]
    log: String,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, help_heading = "Logging")]
    log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

/// How a node logs.
#[derive(Debug, Clone)]
pub struct Logs {
    pub filter: String,
    pub format: LogFormat,
}

impl Arguments {
    /// The logging options.
    pub fn logs(&self) -> Logs {
        Logs { filter: self.log.clone(), format: self.log_format }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// How the rows of an answer are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// For people: aligned columns and a footer that says what the answer is missing
    Table,
    /// One object: `rows` and `completeness`
    Json,
    /// Rows only; the footer goes to stderr
    Csv,
    /// Rows only; the footer goes to stderr
    Parquet,
}

/// What becomes of a bound of time that cuts a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Cut {
    /// The question is refused, with the bounds that would do
    Error,
    /// Only the windows that lie wholly inside are read
    Inside,
    /// Every window that is touched is read
    Covering,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The city's office: its certificate authority and the roster of who is in the city
    #[command(subcommand)]
    City(CityCommand),
    /// A department's node: make its keys, check its folder, run it
    #[command(subcommand)]
    Node(NodeCommand),
    /// Contracts: draft one from a file, check what can be learned about a person from it
    #[command(subcommand)]
    Contract(ContractCommand),
    /// Take observations in: CSV, NDJSON or Parquet, plain, gzip or zstd
    Ingest(IngestCommand),
    /// Ask one question across the whole city, in SQL
    Query(QueryCommand),
    /// The city as one node sees it
    Status(StatusCommand),
    /// What a node holds of a peer's product
    #[command(subcommand)]
    Replica(ReplicaCommand),
    /// Run a real city on this machine: New York, spring 2020, four nodes, one question
    Demo(DemoCommand),
    /// Simulate a whole city on this machine and break it: real nodes, a simulated network and clock
    ///
    /// Runs `civicmesh-sim`, which stands beside this program; `civicmesh sim --help` shows its commands.
    #[command(disable_help_flag = true)]
    Sim {
        /// What the simulator is told, such as `run deploy/sim/first-city.toml`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Print tab completion for a shell, e.g. `source <(civicmesh completions bash)`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub enum ReplicaCommand {
    /// Forget what is held of a peer's product, and pull it anew
    ///
    /// For a product whose owner told two stories, once the owner said which of them is true. What spoke against the
    /// owner is forgotten too; the node's log keeps a line.
    Drop {
        /// The node: its folder, or the URL of its department side
        #[arg(long, value_name = "NODE_DIR|URL")]
        node: String,
        /// The product, as domain.product
        #[arg(long)]
        product: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum CityCommand {
    /// Found a city: make its certificate authority and an empty roster in DIR
    Init {
        /// A new or empty folder for the city's office
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// The city's name, e.g. "New York"
        #[arg(long)]
        name: String,
        /// The city's time zone by its IANA name, e.g. America/New_York: its days are the city's days
        #[arg(long)]
        timezone: String,
    },
    /// Admit a department's node to the city
    ///
    /// With --request FILE: signs what `civicmesh node request` made, and writes the answer beside it (or to --answer);
    /// the office never holds a department's key. With --domain and --out: makes a whole node folder, keys included,
    /// for demonstration and simulation.
    Enroll {
        /// The office's folder, made by `civicmesh city init`
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// The request that the department sent
        #[arg(long, value_hint = ValueHint::FilePath, conflicts_with_all = ["domain", "listen", "department", "seed", "out"], required_unless_present = "out")]
        request: Option<PathBuf>,
        /// Where to write the answer [default: answer.json beside the request]
        #[arg(long, value_hint = ValueHint::FilePath, requires = "request")]
        answer: Option<PathBuf>,
        /// Replace a domain's earlier keys by those of the request (renewal keeps the keys and needs no flag)
        #[arg(long, requires = "request")]
        replace: bool,
        /// The domain, e.g. traffic
        #[arg(long, requires = "out")]
        domain: Option<String>,
        /// Where peers reach the node, HOST:PORT
        #[arg(long, value_name = "HOST:PORT", requires = "out")]
        listen: Option<String>,
        /// Where the department's own people and tools reach it [default: 127.0.0.1, the port after --listen]
        #[arg(long, value_name = "HOST:PORT", requires = "out")]
        department: Option<String>,
        /// Where a peer of the city listens; may be given more than once
        #[arg(long, value_name = "HOST:PORT", requires = "out")]
        seed: Vec<String>,
        /// The node folder to make: for demonstration and simulation, since the office then holds the keys
        #[arg(long, value_name = "NODE_DIR", value_hint = ValueHint::DirPath, requires = "domain", requires = "listen")]
        out: Option<PathBuf>,
    },
    /// Remove a department from the city
    ///
    /// Signs a new roster without it. Nodes that learn of it refuse the domain's calls and pull from it no more; what it
    /// released stays where it is. The roster has to reach one node: copy it over the node's roster.json, and it is
    /// passed on from there.
    Remove {
        /// The office's folder, made by `civicmesh city init`
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// The domain, e.g. traffic
        #[arg(long)]
        domain: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Make a node's own keys and its request to the city's office
    ///
    /// The keys stay in NODE_DIR/keys and NODE_DIR/tls; send the request file to the office.
    /// A node that has its keys already asks for a new certificate (renewal).
    Request {
        /// The node's folder
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// The domain, e.g. traffic (first request only)
        #[arg(long)]
        domain: Option<String>,
        /// Where peers will reach the node, HOST:PORT (first request only)
        #[arg(long, value_name = "HOST:PORT")]
        listen: Option<String>,
        /// Where the department's own people and tools reach it [default: 127.0.0.1, the port after --listen]
        #[arg(long, value_name = "HOST:PORT")]
        department: Option<String>,
        /// Where a peer of the city listens; may be given more than once
        #[arg(long, value_name = "HOST:PORT")]
        seed: Vec<String>,
    },
    /// Install the office's answer: certificate and roster. A running node picks a renewal up by itself
    Accept {
        /// The node's folder
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// The answer that the office wrote
        #[arg(value_hint = ValueHint::FilePath)]
        answer: PathBuf,
    },
    /// Is this folder fit to run? Opens no port and no database
    Check {
        /// The node's folder
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Run the node until SIGTERM or Ctrl-C
    Run {
        /// The node's folder
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// State that the rows of this vault, which releases were counted from, are gone for good: what was released
        /// stays as it is
        #[arg(long, value_name = "VAULT")]
        rows_gone: Option<VaultId>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ContractCommand {
    /// Draft a contract from a file's columns; what only people can know stands as TODO
    Draft {
        /// A sample file: CSV, NDJSON or Parquet
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The domain that owns the product
        #[arg(long)]
        domain: String,
        /// The product's name
        #[arg(long)]
        product: String,
    },
    /// Check contracts, and say what can be learned about a person from them
    Check {
        /// Contract files
        #[arg(required = true, value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// What a contract would release from the observations taken in so far (the department's own eyes only)
    Preview {
        /// The node: its folder, or the URL of its department side
        #[arg(long, value_name = "NODE_DIR|URL")]
        node: String,
        /// The product's name
        #[arg(long)]
        product: String,
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct IngestCommand {
    #[command(subcommand)]
    pub undo: Option<IngestSubcommand>,
    #[command(flatten)]
    pub ingest: IngestArguments,
}

#[derive(Debug, Subcommand)]
pub enum IngestSubcommand {
    /// Take a wrong file back, before any of its windows is released
    Undo {
        /// The node: its folder, or the URL of its department side
        #[arg(long, value_name = "NODE_DIR|URL")]
        node: String,
        /// The dataset that the file went into
        #[arg(long)]
        dataset: String,
        /// The file as it was ingested
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct IngestArguments {
    /// The node: its folder, or the URL of its department side
    #[arg(long, value_name = "NODE_DIR|URL", required = true)]
    pub node: Option<String>,
    /// The dataset, as the contract names it
    #[arg(long, required = true)]
    pub dataset: Option<String>,
    /// The feed that the file came from [default: the dataset's name]
    #[arg(long)]
    pub source: Option<String>,
    /// Close windows up to UNTIL (a date or time in the city's zone), else up to the last full window in the accepted rows
    #[arg(long, value_name = "UNTIL", num_args = 0..=1, require_equals = true)]
    pub complete: Option<Option<String>>,
    /// How the summary is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Files, in order
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct QueryCommand {
    /// The node to ask: its folder, or the URL of its department side
    #[arg(long, value_name = "NODE_DIR|URL")]
    pub node: String,
    /// Exit 3 instead of answering when anything that the question touches is missing
    #[arg(long)]
    pub require_complete: bool,
    /// Exit 3 when an owner confirmed its newest release longer ago than this, e.g. 90s, 15m, 6h, 2d
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub max_staleness: Option<i64>,
    /// Exit 3 when less than this share of the expected windows is here, e.g. 0.95 or 95%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub min_coverage: Option<f64>,
    /// What becomes of a bound of time that cuts a window: refuse, or read the windows inside, or all that are touched
    #[arg(long, value_enum, default_value_t = Cut::Error)]
    pub window_cut: Cut,
    /// How the answer is printed
    #[arg(long, value_enum, default_value_t = AnswerFormat::Table)]
    pub format: AnswerFormat,
    /// The question, e.g. "SELECT date_trunc('week', time) AS week, avg(speed) FROM traffic.taxi GROUP BY 1 ORDER BY 1"
    pub sql: String,
}

#[derive(Debug, Args)]
pub struct StatusCommand {
    /// The node to ask: its folder, or the URL of its department side
    #[arg(long, value_name = "NODE_DIR|URL")]
    pub node: String,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct DemoCommand {
    /// Keep the city running afterwards, until Ctrl-C, and say how to ask it
    #[arg(long)]
    pub keep: bool,
    /// Where the demonstration's contracts and files are
    #[arg(long, value_name = "DIR", default_value = "deploy/demo", value_hint = ValueHint::DirPath)]
    pub files: PathBuf,
    /// Where to build the city [default: a temporary folder, removed at the end]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}
