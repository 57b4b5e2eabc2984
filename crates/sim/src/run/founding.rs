//! The city's office on the first day: a folder for every node, with keys, contract and roster.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use civicmesh_exchange::office::{CityOffice, Departure, NodeFolder};

use crate::city::{City, Department};
use crate::scenario::Pace;
use crate::world::{CITY_PORT, DEPARTMENT_PORT};

/// Founds the city in `folder` and enrols every department; gives each node's folder, in the departments' order.
pub fn found(city: &City, pace: &Pace, folder: &Path) -> Result<Vec<PathBuf>> {
    let office = CityOffice::init(&folder.join("office"), &city.plan.name, city.zone, city.start)?;
    let enrolled = city.departments.iter().map(|department| enroll(&office, city, department, pace, folder));
    let folders: Vec<PathBuf> = enrolled.collect::<Result<_>>()?;
    // each department fetched the roster once all were in it
    for node in &folders {
        fs::copy(office.roster_file(), NodeFolder::new(node).roster_file())?;
    }
    Ok(folders)
}

fn enroll(office: &CityOffice, city: &City, department: &Department, pace: &Pace, folder: &Path) -> Result<PathBuf> {
    let Department { domain, .. } = department;
    let path = folder.join(domain);
    let node = NodeFolder::new(&path);
    let departure = Departure {
        domain: Some(domain.parse().with_context(|| format!("{domain} is no domain"))?),
        listen: Some(format!("{domain}:{CITY_PORT}").parse()?),
        department: Some(format!("127.0.0.1:{DEPARTMENT_PORT}").parse()?),
        seeds: Vec::new(),
    };
    office.enroll_out(&node, &departure, city.start)?;
    department.write_contract(&node.contracts())?;
    let config = format!(
        "[node]\ndomain = \"{domain}\"\ncity_listen = \"0.0.0.0:{CITY_PORT}\"\ndepartment_listen = \
         \"127.0.0.1:{DEPARTMENT_PORT}\"\n\n[publisher]\ninterval_ms = {}\nretention_interval_ms = {}\n\n[pull]\ninterval_ms = {}\nbackoff_ms_max = \
         {}\nreload_interval_ms = {}\n",
        pace.network_ms(pace.publisher_s),
        pace.network_ms(pace.retention_s),
        pace.network_ms(pace.pull_s),
        pace.network_ms(pace.backoff_s_max),
        pace.network_ms(pace.reload_s),
    );
    fs::write(node.config_file(), config)?;
    Ok(path)
}
