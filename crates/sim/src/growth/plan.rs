//! What a scenario says of growth.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{HOUR_S, QUIET_AFTER_HOURS, TOGETHER_HOURS};
use crate::city::CityPlan;
use crate::faults::Seconds;
use crate::scenario::{Pace, Scenario, ScenarioError, parsed_with, text_of};

/// A scenario that grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Growth {
    /// What it shows, in a few words.
    pub title: String,
    /// The city; how many departments and events it has is said below.
    #[serde(default)]
    pub city: CityPlan,
    /// How it is run.
    #[serde(default)]
    pub run: Pace,
    /// How it grows.
    pub growth: Sizes,
}

/// `[growth]`: how a city grows, and for what it is reckoned on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sizes {
    /// Numbers of departments to run, the fewest first.
    pub departments: Vec<u32>,
    /// Events of a department in a day, on average.
    pub events_per_department: u64,
    /// Nodes of the city that is reckoned, and not run.
    pub reckoned_nodes: u32,
    /// Nodes of one of its regions.
    pub region_nodes: u32,
    /// Products of each other region that a node of that city pulls.
    pub products_from_a_region: u32,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes {
            departments: vec![3, 10, 30, 100, 300],
            events_per_department: 20_000,
            reckoned_nodes: 10_000,
            region_nodes: 100,
            products_from_a_region: 1,
        }
    }
}

impl Growth {
    /// Reads a scenario file if it is one that grows: one with a table `[growth]`.
    ///
    /// # Errors
    /// [`ScenarioError`], which names file and key.
    pub fn read(file: &Path) -> Result<Option<Growth>, ScenarioError> {
        let text = text_of(file)?;
        Growth::parse(&text, &file.display().to_string())
    }

    /// Parses the text of a scenario; `file` is named in errors.
    ///
    /// # Errors
    /// [`ScenarioError`], which names file and key.
    pub fn parse(text: &str, file: &str) -> Result<Option<Growth>, ScenarioError> {
        let growth: Option<Growth> = parsed_with("growth", text, file)?;
        growth.as_ref().map_or(Ok(()), Growth::check)?;
        Ok(growth)
    }

    /// The scenario with so many departments.
    pub fn scenario(&self, departments: u32) -> Scenario {
        let events_per_day = self.growth.events_per_department * u64::from(departments);
        let city = CityPlan { departments, events_per_day, ..self.city.clone() };
        let title = format!("{}: {departments} departments", self.title);
        Scenario { title, city, run: self.run.clone(), operations: Vec::new() }
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let failed =
            |key: &str, reason: &str| Err(ScenarioError::Key { key: key.to_owned(), reason: reason.to_owned() });
        let Sizes { departments, reckoned_nodes, region_nodes, .. } = &self.growth;
        if departments.is_empty() || !departments.is_sorted_by(|one, other| one < other) {
            return failed("growth.departments", "write numbers of departments, the fewest first, such as [3, 10, 30]");
        }
        if !(1..=*reckoned_nodes).contains(region_nodes) {
            return failed("growth.region_nodes", "must be from 1 to reckoned_nodes");
        }
        if Seconds::from(self.city.hours()) <= TOGETHER_HOURS || self.run.settle_s <= (QUIET_AFTER_HOURS + 1) * HOUR_S {
            return failed("growth", "the city must live longer than three hours, and run.settle_s be more than 10800");
        }
        departments.iter().try_for_each(|departments| self.scenario(*departments).check())
    }
}
