//! `civicmesh demo`: New York, spring 2020, as four departments' nodes on this machine, and one question to all of them.

mod nodes;
mod question;

use crate::args::DemoCommand;
use crate::say::out;
use crate::{render, say};
use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget};
use nodes::{Department, Nodes};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The city's time zone: its days are New York's days.
const TIMEZONE: &str = "America/New_York";
/// How long anything in the demonstration may take before it says what it waited for in vain.
const PATIENCE: Duration = Duration::from_secs(120);

/// The four departments, their contracts, and what they take in at first.
const DEPARTMENTS: [Department; 4] = [
    Department {
        domain: "traffic",
        contracts: &["taxi.yaml"],
        lookups: &["zones_taxi_lookup.csv"],
        feeds: &[("taxi", "taxi_2020.csv.gz", "2021-01-01")],
    },
    Department {
        domain: "transit",
        contracts: &["ridership.yaml"],
        lookups: &[],
        feeds: &[("ridership", "ridership_2020_03_to_11.csv.gz", "2020-12-01")],
    },
    Department {
        domain: "health",
        contracts: &["emergency.yaml", "admissions.yaml"],
        lookups: &["population.csv"],
        feeds: &[
            ("emergency", "covid_like_illness_2020.csv.gz", "2021-01-01"),
            ("admissions", "covid_like_illness_2020.csv.gz", "2021-01-01"),
        ],
    },
    Department {
        domain: "weather",
        contracts: &["daily.yaml"],
        lookups: &[],
        feeds: &[("daily", "central_park_2020.csv.gz", "2021-01-01")],
    },
];
/// What `transit` holds back until it has come back.
const DECEMBER: (&str, &str, &str) = ("ridership", "ridership_2020_12.csv.gz", "2021-01-01");

/// Questions that are refused, with what each shows.
const REFUSED: [(&str, &str); 3] = [
    ("the fastest trip: one person's trip", "SELECT max(speed) FROM traffic.taxi"),
    (
        "one Staten Island day: too few trips to hide in",
        "SELECT avg(speed) FROM traffic.taxi WHERE borough = 'Staten Island' AND time >= '2020-03-11' AND time < '2020-03-12'",
    ),
    ("a product that health does not grant to traffic", "SELECT sum(admissions) FROM health.admissions"),
];

pub fn run(command: DemoCommand) -> Result<ExitCode> {
    let files = command.files.canonicalize().with_context(|| {
        format!(
            "{}: the demonstration's files are not there; call it in the repository, or give --files",
            command.files.display()
        )
    })?;
    let runtime = civicmesh_node::runtime()?;
    runtime.block_on(show(&command, &files))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(command: &DemoCommand, files: &Path) -> Result<()> {
    let home = nodes::Home::new(command.dir.as_deref())?;
    out!("New York, spring 2020: four departments, four nodes, no central brain\n");
    let mut nodes =
        step("four nodes start, each with keys of its own", Nodes::start(home.path(), files, &DEPARTMENTS)).await?;
    step("each takes its own observations in and closes its days", take_in(&nodes, files)).await?;
    step("each holds every release that it is granted", nodes.converged()).await?;
    ask_everywhere(&nodes, files).await?;
    refuse(&nodes).await?;
    survive(&mut nodes, files).await?;
    farewell(command, nodes).await
}

/// Shows a spinner while something goes on, then a tick and how long it took.
async fn step<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let begun = tokio::time::Instant::now();
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(crate::ingest::style("  {spinner} {msg}"));
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    let outcome = tokio::time::timeout(PATIENCE, work).await;
    bar.finish_and_clear();
    let value = outcome.with_context(|| format!("not within {} s: {what}", PATIENCE.as_secs()))??;
    out!("  ✓ {what} ({:.1} s)", begun.elapsed().as_secs_f64());
    Ok(value)
}

async fn take_in(nodes: &Nodes, files: &Path) -> Result<()> {
    let taken = DEPARTMENTS.iter().map(|department| async move {
        for feed in department.feeds {
            nodes.ingest(department.domain, files, *feed).await?;
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(taken).await?;
    Ok(())
}

/// Asks the question at each node, compares the answers with each other and with the raw rows, and prints one table.
async fn ask_everywhere(nodes: &Nodes, files: &Path) -> Result<()> {
    let raw = step(
        "beside it: the same SQL over all raw rows in one process, which no city could have",
        question::over_raw_rows(files, &DEPARTMENTS),
    )
    .await?;
    out!("\n{}\n", question::SQL);
    let mut answers = Vec::new();
    for department in &DEPARTMENTS {
        let answer = nodes.ask(department.domain, question::SQL).await?;
        answers.push((department.domain, answer));
    }
    let first = &answers[0].1;
    say::line(question::beside(&first.batches, &raw)?);
    out!(
        "\n= the raw rows give the same figure; where they give another, cells of fewer than 10 trips or visits are suppressed\n"
    );
    let expected = render::json_rows(&first.batches)?;
    for (domain, answer) in &answers {
        ensure!(render::json_rows(&answer.batches)? == expected, "{domain} gives another table than {}", answers[0].0);
        out!("  ✓ {domain} gives this table in {} ms", answer.elapsed.as_millis());
    }
    out!("\n{}", crate::completeness::footer(&first.completeness, TIMEZONE));
    Ok(())
}

async fn refuse(nodes: &Nodes) -> Result<()> {
    out!("\nThree questions that traffic's node refuses:");
    for (why, sql) in REFUSED {
        match nodes.ask("traffic", sql).await {
            Ok(_) => anyhow::bail!("answered, and must not be: {sql}"),
            Err(refusal) => out!("\n  {why}\n    {sql}\n  ✗ {refusal}"),
        }
    }
    Ok(())
}

/// Kills transit, shows that the question is answered all the same, and that what it held back arrives later.
async fn survive(nodes: &mut Nodes, files: &Path) -> Result<()> {
    out!("\nTransit's node dies (SIGKILL), with December not yet taken in:");
    nodes.kill("transit")?;
    step("traffic notices", nodes.unreachable("traffic", "transit")).await?;
    let answer = nodes.ask("traffic", question::SQL).await?;
    out!("  ✓ traffic still answers, in {} ms, and says how old transit's part is:", answer.elapsed.as_millis());
    let transit: Vec<_> = answer.completeness.into_iter().filter(|part| part.owner.as_str() == "transit").collect();
    out!("    {}", crate::completeness::footer(&transit, TIMEZONE));
    step("transit starts again", nodes.restart("transit")).await?;
    step("transit takes December in", nodes.ingest("transit", files, DECEMBER)).await?;
    step("December has arrived at every peer", nodes.converged()).await?;
    let sql = "SELECT date_trunc('month', time) AS month, avg(subway_riders) AS riders FROM transit.ridership WHERE time >= '2020-11-01' GROUP BY 1 ORDER BY 1";
    let answer = nodes.ask("weather", sql).await?;
    out!("\n  {sql}\n");
    say::line(render::rows(&answer.schema, &answer.batches)?);
    Ok(())
}

async fn farewell(command: &DemoCommand, nodes: Nodes) -> Result<()> {
    if command.keep {
        out!("\nThe city runs until Ctrl-C. Ask it, at any node:\n");
        for department in &DEPARTMENTS {
            out!("  civicmesh query --node {} \"SHOW TABLES\"", nodes.dir(department.domain).display());
        }
        out!("\n  civicmesh status --node {}", nodes.dir("traffic").display());
        out!("\n(civicmesh is {})", std::env::current_exe()?.display());
        tokio::signal::ctrl_c().await?;
    } else {
        out!("\nTo keep this city running and ask it a question of your own: civicmesh demo --keep");
        out!("(civicmesh is {})", std::env::current_exe()?.display());
    }
    nodes.stop().await
}

/// The refusal of a question as the demonstration prints it: its causes in one text.
fn in_words(error: civicmesh_node::client::ClientError) -> anyhow::Error {
    let error = crate::query::plain(error);
    anyhow::anyhow!(error.to_string().replace('\n', "\n  "))
}

/// What a token names in the environment has no place in the demonstration: its nodes have tokens of their own.
fn client(dir: &Path, purpose: civicmesh_node::office::Purpose) -> Result<civicmesh_node::client::Client> {
    Ok(civicmesh_node::client::Client::connect(say::text(dir)?, purpose, Default::default())?)
}
