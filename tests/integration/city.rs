//! A city of real processes for a test: its office, its node folders, its nodes started and killed as an operator would.

use civicmesh_node::free_addresses;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything that must come true may take on a loaded machine before the test says that it never will.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Nodes of a test look at each other more often than those of a city need to.
const PACE: &str = "\n[pull]\ninterval_ms = 200\nbackoff_ms_max = 1000\n";

/// The `civicmesh` binary that `scripts/test` has built beside this one.
pub fn binary() -> PathBuf {
    let this = std::env::current_exe().expect("the test's own path");
    let binary = this.parent().and_then(Path::parent).expect("target/debug").join("civicmesh");
    assert!(binary.exists(), "{} is not built: call `make test`", binary.display());
    binary
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the root")
}

/// Runs the command to its end.
pub fn civicmesh(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).stdin(Stdio::null()).output().expect("civicmesh starts")
}

/// Runs the command and demands that it succeeds; gives its stdout.
pub fn must(arguments: &[&str]) -> String {
    let output = civicmesh(arguments);
    assert!(
        output.status.success(),
        "civicmesh {}\n{}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Waits until `ready` gives a value; panics with `what` when patience runs out.
pub fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A city's office and the folder that everything lives in.
pub struct City {
    pub folder: TempDir,
    seeds: Vec<String>,
}

/// One node's folder and, while it runs, its process.
pub struct Node {
    pub domain: String,
    pub dir: PathBuf,
    child: Option<Child>,
}

impl City {
    /// Founds a city in a folder of its own.
    pub fn found(name: &str, timezone: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let office = folder.path().join("office");
        must(&["city", "init", text(&office), "--name", name, "--timezone", timezone]);
        Self { folder, seeds: Vec::new() }
    }

    pub fn office(&self) -> PathBuf {
        self.folder.path().join("office")
    }

    /// Enrols a domain (keys included, as for a simulation) and puts the contracts with the files they name into its folder.
    pub fn enroll(&mut self, domain: &str, contracts: &[&Path]) -> Node {
        let dir = self.folder.path().join(domain);
        let [listen, department] = free_addresses().expect("free ports").map(|address| address.to_string());
        let office = self.office();
        let mut arguments = vec![
            "city",
            "enroll",
            text(&office),
            "--domain",
            domain,
            "--listen",
            &listen,
            "--department",
            &department,
            "--out",
            text(&dir),
        ];
        for seed in &self.seeds {
            arguments.extend(["--seed", seed]);
        }
        must(&arguments);
        append(&dir.join("node.toml"), PACE);
        self.seeds.push(listen);
        for contract in contracts {
            std::fs::copy(contract, dir.join("contracts").join(contract.file_name().expect("a name"))).expect("copied");
        }
        Node { domain: domain.to_owned(), dir, child: None }
    }
}

impl Node {
    /// A node whose folder stands already.
    pub fn at(domain: &str, dir: PathBuf) -> Self {
        Self { domain: domain.to_owned(), dir, child: None }
    }

    /// Starts the node and waits until it answers.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts the node with these environment variables and waits until it answers.
    pub fn start_with(&mut self, environment: &[(&str, &str)]) {
        assert!(self.child.is_none(), "{} runs already", self.domain);
        let log =
            std::fs::File::options().create(true).append(true).open(self.dir.join("node.log")).expect("a log file");
        let child = Command::new(binary())
            .args(["--log-format", "json", "node", "run", text(&self.dir)])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("the node starts");
        self.child = Some(child);
        eventually(&format!("{} answers\n{}", self.domain, self.log()), || {
            let child = self.child.as_mut().expect("running");
            assert!(child.try_wait().expect("a state").is_none(), "{} ended: {}", self.domain, self.log());
            civicmesh(&["status", "--node", text(&self.dir), "--format", "json"]).status.success().then_some(())
        });
    }

    /// Starts a node that must refuse to run; what it says.
    pub fn start_refused(&mut self) -> String {
        let child = Command::new(binary())
            .args(["node", "run", text(&self.dir)])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("civicmesh starts");
        let child = self.child.insert(child);
        eventually(&format!("{} ends", self.domain), || child.try_wait().expect("a state"));
        let output = self.child.take().expect("ended").wait_with_output().expect("its words");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Adds to the node's configuration.
    pub fn configure(&self, text: &str) {
        append(&self.dir.join("node.toml"), text);
    }

    /// Puts one text for another in the node's configuration.
    pub fn amend(&self, from: &str, to: &str) {
        let file = self.dir.join("node.toml");
        let config = std::fs::read_to_string(&file).expect("node.toml");
        assert!(config.contains(from), "{config}");
        std::fs::write(file, config.replace(from, to)).expect("written");
    }

    /// An address in the node's configuration: `city_listen` or `department_listen`.
    pub fn address(&self, key: &str) -> String {
        let config = std::fs::read_to_string(self.dir.join("node.toml")).expect("node.toml");
        let config: toml::Table = config.parse().expect("TOML");
        config["node"][key].as_str().expect("an address").to_owned()
    }

    /// The token for one purpose: `ingest`, `query` or `admin`.
    pub fn token(&self, purpose: &str) -> String {
        let token = std::fs::read_to_string(self.dir.join("tokens").join(purpose)).expect("a token");
        token.trim().to_owned()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("running");
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    /// SIGTERM, and the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("running");
        let status =
            Command::new("sh").args(["-c", "kill -TERM \"$0\"", &child.id().to_string()]).status().expect("sh runs");
        assert!(status.success());
        child.wait().expect("gone").code()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("node.log")).unwrap_or_default()
    }

    /// `civicmesh ingest` of these files into a dataset, with further arguments.
    pub fn ingest(&self, dataset: &str, files: &[&Path], further: &[&str]) -> Output {
        let mut arguments = vec!["ingest", "--node", text(&self.dir), "--dataset", dataset, "--format", "json"];
        arguments.extend(further);
        arguments.extend(files.iter().map(|file| text(file)));
        civicmesh(&arguments)
    }

    /// An ingest of one file that must succeed; what became of the file.
    pub fn take_in(&self, dataset: &str, file: &Path, further: &[&str]) -> Value {
        let output = self.ingest(dataset, &[file], further);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", file.display());
        let summaries: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        summaries[0].clone()
    }

    /// The answer to a question, as JSON: `rows` and `completeness`.
    pub fn ask(&self, sql: &str) -> Value {
        let answer = must(&["query", "--node", text(&self.dir), "--format", "json", sql]);
        serde_json::from_str(&answer).expect("JSON")
    }

    /// What the node says in refusing a question.
    pub fn refusal(&self, sql: &str) -> String {
        let output = civicmesh(&["query", "--node", text(&self.dir), "--format", "json", sql]);
        assert_eq!(output.status.code(), Some(1), "not refused: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// The city as this node sees it.
    pub fn status(&self) -> Value {
        serde_json::from_str(&must(&["status", "--node", text(&self.dir), "--format", "json"])).expect("JSON")
    }

    /// The state of one product in this node's status.
    pub fn product(&self, id: &str) -> Option<Value> {
        let status = self.status();
        status["products"].as_array()?.iter().find(|product| product["product"] == id).cloned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The test is over or has failed: nothing that runs may outlive it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn append(file: &Path, text: &str) {
    let whole = std::fs::read_to_string(file).expect("it is there") + text;
    std::fs::write(file, whole).expect("written");
}

/// A number of an answer, which JSON may hold as text where it has more digits than a float.
pub fn number(value: &Value) -> f64 {
    let read = value.as_f64().or_else(|| value.as_str()?.parse().ok());
    read.unwrap_or_else(|| panic!("{value} is no number"))
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}
