//! What a scenario says of its city: how large it is, how clean its feeds are, and whether real files drive it.

use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// Least departments of a drawn city: one that has a peer.
pub const DEPARTMENTS_MIN: u32 = 2;
/// Departments of a city that says nothing of them: one of each kind.
const DEPARTMENTS: u32 = 5;
/// Most departments of a city.
pub const DEPARTMENTS_MAX: u32 = 300;
/// Most days of a city.
pub const DAYS_MAX: u32 = 400;
/// Least days for which raw rows are kept: those that come a day late still find their day.
pub const RAW_DAYS_MIN: u32 = 3;
/// Most days for which raw rows are kept.
pub const RAW_DAYS_MAX: u32 = 36_500;
/// Most districts of a city.
pub const DISTRICTS_MAX: u32 = 60;
/// Most events of a city in a day.
pub const EVENTS_PER_DAY_MAX: u64 = 1_000_000_000;
/// Most sensors of one department.
pub const SENSORS_MAX: u32 = 100_000;

/// `[city]` of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CityPlan {
    /// Its name.
    pub name: String,
    /// Its time zone, an IANA name.
    pub zone: String,
    /// Its first day, in its zone.
    #[serde(with = "written_date")]
    pub start: NaiveDate,
    /// How many days it lives.
    pub days: u32,
    /// Most hours that it lives, where it is to end within a day; 0 for whole days.
    pub hours_max: u32,
    /// How many departments it has; the first five are traffic, transit, energy, services and air.
    pub departments: u32,
    /// How many districts it has.
    pub districts: u32,
    /// Events in a day, of all departments together but for those that measure at a fixed beat (air).
    pub events_per_day: u64,
    /// Sensors of the richest department, traffic.
    pub sensors_rich: u32,
    /// Sensors of the poorest, air, which reads each of them twelve times an hour over a bad link.
    pub sensors_poor: u32,
    /// Days for which each department keeps its raw rows.
    pub raw_days: u32,
    /// Share of rows that are sent again in the same file, where rows have a key; elsewhere, share of files that are sent twice.
    pub duplicates: f64,
    /// Share of rows that come one or two hours late, before their window closes.
    pub late: f64,
    /// Share of rows that come a day late, after their window was released.
    pub too_late: f64,
    /// Share of rows that cannot be taken in.
    pub rotten: f64,
    /// Departments whose rows are read from files instead of drawn. If there are any, none is drawn.
    pub real: Vec<RealDepartment>,
}

/// A department that real files drive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RealDepartment {
    /// Its contract; the domain is the contract's.
    pub contract: PathBuf,
    /// Lookup files that go beside the contract.
    #[serde(default)]
    pub lookups: Vec<PathBuf>,
    /// Its feed: CSV files with a header each, unpacked, in the order in which they are sent.
    pub files: Vec<PathBuf>,
    /// Rows of one feed file; one is sent each hour of the simulated city.
    pub rows_per_feed: u64,
}

impl Default for CityPlan {
    fn default() -> Self {
        CityPlan {
            name: "First City".to_owned(),
            zone: "Europe/Copenhagen".to_owned(),
            start: NaiveDate::from_ymd_opt(2024, 6, 3).unwrap_or_default(),
            days: 7,
            hours_max: 0,
            departments: DEPARTMENTS,
            districts: 8,
            events_per_day: 200_000,
            sensors_rich: 5_000,
            sensors_poor: 20,
            raw_days: 20 * 365,
            duplicates: 0.01,
            late: 0.02,
            too_late: 0.001,
            rotten: 0.005,
            real: Vec::new(),
        }
    }
}

/// Why a plan cannot be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A number is out of its range.
    #[error("city.{key}: {found} is out of range; write {least} to {most}")]
    Range {
        /// The key.
        key: &'static str,
        /// What it says.
        found: String,
        /// The least that it may say.
        least: String,
        /// The most that it may say.
        most: String,
    },
    /// There is no such time zone.
    #[error("city.zone: `{0}` is no time zone; write an IANA name such as Europe/Copenhagen")]
    Zone(String),
    /// A file that a real department names cannot be used.
    #[error("city.real: {}: {reason}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
}

impl CityPlan {
    /// Whether every number is in its range.
    pub fn check(&self) -> Result<(), PlanError> {
        let least = if self.real.is_empty() { DEPARTMENTS_MIN } else { 0 };
        within("departments", self.departments, least, DEPARTMENTS_MAX)?;
        within("days", self.days, 1, DAYS_MAX)?;
        within("raw_days", self.raw_days, RAW_DAYS_MIN, RAW_DAYS_MAX)?;
        within("districts", self.districts, 1, DISTRICTS_MAX)?;
        within("events_per_day", self.events_per_day, 0, EVENTS_PER_DAY_MAX)?;
        within("sensors_rich", self.sensors_rich, 1, SENSORS_MAX)?;
        within("sensors_poor", self.sensors_poor, 1, SENSORS_MAX)?;
        for (key, share) in
            [("duplicates", self.duplicates), ("late", self.late), ("too_late", self.too_late), ("rotten", self.rotten)]
        {
            within(key, share, 0.0, 0.5)?;
        }
        Ok(())
    }

    /// Files of real departments that are named without a root are looked for from `folder` on: that of the scenario.
    pub fn look_from(&mut self, folder: &Path) {
        for real in &mut self.real {
            let named = std::iter::once(&mut real.contract).chain(&mut real.lookups).chain(&mut real.files);
            named.for_each(|file| *file = folder.join(&*file));
        }
    }

    /// Hours that the city lives.
    pub fn hours(&self) -> u32 {
        match self.hours_max {
            0 => self.days * 24,
            hours => hours.min(self.days * 24),
        }
    }
}

fn within<T: PartialOrd + ToString>(key: &'static str, found: T, least: T, most: T) -> Result<(), PlanError> {
    if found >= least && found <= most {
        return Ok(());
    }
    Err(PlanError::Range { key, found: found.to_string(), least: least.to_string(), most: most.to_string() })
}

/// A share as parts of a million, which reckons alike everywhere.
pub(super) fn millionths(share: f64) -> u64 {
    (share * 1_000_000.0).round() as u64
}

/// A date as text, `2024-06-03`.
mod written_date {
    use chrono::NaiveDate;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(date: &NaiveDate, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(date)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NaiveDate, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(|_| serde::de::Error::custom("write a date such as 2024-06-03"))
    }
}
