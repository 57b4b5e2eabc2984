//! `civicmesh city …`: the office that admits departments.

use crate::args::CityCommand;
use crate::say;
use crate::say::out;
use anyhow::{Context, Result};
use civicmesh_node::Environment;
use civicmesh_node::model::names::DomainName;
use civicmesh_node::office::{CityOffice, Departure, Enrolled, NodeFolder, Standing};
use std::path::Path;
use std::process::ExitCode;

pub fn run(command: CityCommand) -> Result<ExitCode> {
    let now = Environment::real().clock.now();
    match command {
        CityCommand::Init { dir, name, timezone } => {
            let timezone = timezone.parse().with_context(|| format!("`{timezone}` is no time zone that IANA knows"))?;
            let office = CityOffice::init(&dir, &name, timezone, now)?;
            out!("{name} is founded; its office is {}", dir.display());
            out!("the city's key has the fingerprint {}", office.city_key()?.fingerprint());
            eprintln!("keep {} safe: whoever holds it admits to the city", dir.join("keys").display());
        }
        CityCommand::Enroll { dir, request: Some(request), answer, replace, .. } => {
            let answer = answer.unwrap_or_else(|| request.with_file_name("answer.json"));
            let bytes = say::read(&request)?;
            let enrolled = CityOffice::open(&dir)?.enroll(&bytes, replace, now)?;
            say::write(&answer, &enrolled.answer)?;
            describe(&enrolled, now.0);
            out!("send {} back to the department: `civicmesh node accept NODE_DIR {0}`", answer.display());
        }
        CityCommand::Enroll { dir, request: None, domain, listen, department, seed, out, .. } => {
            let out = out.expect("clap demands --out where there is no --request");
            let departure = departure(domain.as_deref(), listen.as_deref(), department.as_deref(), &seed)?;
            let office = CityOffice::open(&dir)?;
            let enrolled = office.enroll_out(&NodeFolder::new(&out), &departure, now)?;
            describe(&enrolled, now.0);
            eprintln!(
                "the office made this node's keys: fit for demonstration and simulation only; a department makes its own with `civicmesh node request`"
            );
            next_step(&out);
        }
        CityCommand::Remove { dir, domain } => {
            let office = CityOffice::open(&dir)?;
            let roster = office.remove(&domain.parse::<DomainName>().context("--domain")?)?;
            out!("{domain} is no longer in the city, from roster {} on", roster.roster().serial);
            out!(
                "copy {} over the roster.json of a node that stays: it is followed there at once, and passed on",
                office.roster_file().display()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(enrolled: &Enrolled, now_us: i64) {
    let domain = &enrolled.domain;
    let days = (enrolled.expires.0 - now_us) / 86_400_000_000;
    match enrolled.standing {
        Standing::New => {
            out!("{domain} is admitted to the city, with a certificate for {days} days")
        }
        Standing::Renewed => {
            out!("{domain} keeps its keys and has a certificate for another {days} days")
        }
        Standing::Replaced => out!("{domain} has new keys, and a certificate for {days} days"),
    }
}

/// What a person does next with a node's folder.
pub fn next_step(dir: &Path) {
    let contracts = NodeFolder::new(dir).contracts();
    let dir = dir.display();
    if contracts.read_dir().is_ok_and(|mut files| files.next().is_some()) {
        out!(
            "a node that runs takes this up by itself; otherwise: civicmesh node check {dir} && civicmesh node run {dir}"
        );
        return;
    }
    out!("put the contracts into {dir}/contracts, then: civicmesh node check {dir} && civicmesh node run {dir}");
}

/// What a new node's folder should say, from the command line.
pub fn departure(
    domain: Option<&str>,
    listen: Option<&str>,
    department: Option<&str>,
    seeds: &[String],
) -> Result<Departure> {
    Ok(Departure {
        domain: domain.map(str::parse).transpose().context("--domain")?,
        listen: listen.map(str::parse).transpose().context("--listen")?,
        department: department.map(str::parse).transpose().context("--department")?,
        seeds: seeds.iter().map(|seed| seed.parse()).collect::<Result<_, _>>().context("--seed")?,
    })
}
