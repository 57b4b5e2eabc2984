//! What a scenario says of the comparison of one central brain with a cluster of brains.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::city::CityPlan;
use crate::scenario::{ScenarioError, parsed_with, text_of};

/// A scenario that compares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// What it shows, in a few words.
    pub title: String,
    /// The city.
    #[serde(default)]
    pub city: CityPlan,
    /// How it is compared.
    pub central: Terms,
}

/// `[central]`: how the two are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Terms {
    /// Questions that each department asks in a day.
    pub questions_per_day: f64,
    /// Share of them that set the department's own product beside another's; the others are about its own alone.
    pub whole_city: f64,
    /// How often each node asks each peer for what is new, in seconds: what costs a cluster most while nothing happens.
    pub pull_s: f64,
    /// Time that a message needs to the central brain and its answer back, in milliseconds.
    pub round_trip_ms: f64,
    /// Numbers of departments to measure beside the city's own; from 5 on.
    pub departments: Vec<u32>,
    /// Factors of the city's events to measure.
    pub rates: Vec<f64>,
    /// Questions of each department in a day to measure beside `questions_per_day`; of each, 200 are asked at the most, and
    /// more are reckoned from these.
    pub questions: Vec<f64>,
    /// Shares of questions over two products to measure beside `whole_city`; 0 to 1.
    pub mixes: Vec<f64>,
    /// Shares of hours in which a department's link, or a machine, is down, to measure; 0 to 0.9.
    pub faults: Vec<f64>,
    /// Hours that the city lives under each of these shares.
    pub fault_hours: u32,
    /// Seconds for which the city is watched while nothing happens. In 20 each end of a link looks once whether the other
    /// is there.
    pub watch_s: f64,
    /// What energy is reckoned with.
    pub energy: Energy,
}

/// `[central.energy]`: none of this is measured here.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Energy {
    /// Watts of a core that is busy. By default 3.5, the mean of a cloud's virtual core at full load in the methodology of
    /// Cloud Carbon Footprint (AWS: 0.74 W idle, 3.5 W busy).
    pub watts_busy_core: f64,
    /// Joules for each byte that crosses the network. By default 3.6e-6, which is 0.001 kWh a gigabyte, Cloud Carbon
    /// Footprint's figure for links between data centres; for the open internet in 2015 Aslan and others (2018) found 0.06
    /// kWh, halved every two years, which gives about twice our figure for 2025.
    pub joules_byte: f64,
    /// Watts that each machine draws while nothing happens. By default 0.74, one idle virtual core of the same source.
    pub watts_idle_machine: f64,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            questions_per_day: 24.0,
            whole_city: 0.5,
            pull_s: 300.0,
            round_trip_ms: 10.0,
            departments: vec![10, 20],
            rates: vec![0.1, 1.0, 4.0],
            questions: vec![1.0, 100.0, 10_000.0, 1_000_000.0],
            mixes: vec![0.0, 0.5, 1.0],
            faults: vec![0.0, 0.05, 0.2],
            fault_hours: 48,
            watch_s: 20.0,
            energy: Energy::default(),
        }
    }
}

impl Default for Energy {
    fn default() -> Energy {
        Energy { watts_busy_core: 3.5, joules_byte: 3.6e-6, watts_idle_machine: 0.74 }
    }
}

impl Comparison {
    /// Reads a scenario file if it is one that compares: one with a table `[central]`.
    ///
    /// # Errors
    /// [`ScenarioError`], which names file and key.
    pub fn read(file: &Path) -> Result<Option<Comparison>, ScenarioError> {
        let text = text_of(file)?;
        let mut found = Comparison::parse(&text, &file.display().to_string())?;
        if let (Some(comparison), Some(folder)) = (&mut found, file.parent()) {
            comparison.city.look_from(folder);
        }
        Ok(found)
    }

    /// Parses the text of a scenario; `file` is named in errors.
    ///
    /// # Errors
    /// [`ScenarioError`], which names file and key.
    pub fn parse(text: &str, file: &str) -> Result<Option<Comparison>, ScenarioError> {
        let comparison: Option<Comparison> = parsed_with("central", text, file)?;
        comparison.as_ref().map_or(Ok(()), Comparison::check)?;
        Ok(comparison)
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let failed =
            |key: &str, reason: &str| Err(ScenarioError::Key { key: key.to_owned(), reason: reason.to_owned() });
        let Terms { whole_city, pull_s, departments, rates, faults, fault_hours, .. } = &self.central;
        let Terms { questions_per_day, questions, mixes, watch_s, .. } = &self.central;
        if !(0.0..=1.0).contains(whole_city) {
            return failed("central.whole_city", "is a share: write 0 to 1");
        }
        if mixes.iter().any(|share| !(0.0..=1.0).contains(share)) {
            return failed("central.mixes", "write shares: 0 to 1");
        }
        if !(0.0..=1e9).contains(questions_per_day) {
            return failed("central.questions_per_day", "write 0 to 1e9");
        }
        if !(1.0..=3_600.0).contains(watch_s) {
            return failed("central.watch_s", "write 1 to 3600 seconds");
        }
        if questions.iter().any(|many| !(0.001..=1e9).contains(many)) {
            return failed("central.questions", "write numbers from 0.001 to 1e9: of each department in a day");
        }
        if !(0.1..=86_400.0).contains(pull_s) {
            return failed("central.pull_s", "write 0.1 to 86400 seconds");
        }
        if departments.iter().any(|many| !(5..=100).contains(many)) {
            return failed("central.departments", "write numbers from 5 to 100: each department is a real node");
        }
        if rates.iter().any(|rate| !(0.001..=1_000.0).contains(rate)) {
            return failed("central.rates", "write factors from 0.001 to 1000");
        }
        if faults.iter().any(|share| !(0.0..=0.9).contains(share)) || !(4..=2_400).contains(fault_hours) {
            return failed("central.faults", "write shares from 0 to 0.9, over fault_hours of 4 to 2400");
        }
        Ok(())
    }
}
