//! A city to be simulated: its departments, their contracts, and their files hour by hour.
//!
//! A drawn city is a function of its seed and plan, alike on every machine. Each file is drawn by itself when it is
//! asked for, and so is the truth of a window: ten million rows never lie in memory, and a checker needs no log of what
//! was sent. The departments share a sky ([`Sky`]): rain slows cars and fills buses, cold lights stoves, a concert draws
//! people to one district. A city that real files drive ([`RealDepartment`]) has feeds, but no truth and no canaries.

mod canary;
mod contract;
mod dice;
mod kind;
mod plan;
mod real;
mod rows;
mod sky;
#[cfg(test)]
mod tests;
mod truth;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use chrono::{Days, NaiveDateTime};
use civicmesh_model::time::{UtcMicros, Zone};

pub use canary::{Canary, CanaryThing};
pub use contract::{LATENESS_HOURS, WEIGHT};
pub use dice::Draw;
pub use kind::Kind;
pub use plan::{CityPlan, PlanError, RealDepartment};
pub use real::{Feeds, RealFeeds};
pub use sky::{Gathering, Sky, Weather};
pub use truth::{CellTruth, Coordinate, WindowTruth};

use dice::Dice;
use plan::millionths;
use rows::{CANARY, ROTTEN_WAYS, STREAM_ROWS_MAX, STREAMS, TOO_LATE, Writer};
use truth::Tally;

/// Microseconds in an hour.
const HOUR_US: i64 = 3_600_000_000;
/// The place of a canary that stands in rows which are not taken in.
const REJECTED: &str = "rejected row";
/// Districts that have a name; others are numbered.
const DISTRICTS: [&str; 12] = [
    "Harbour",
    "Old Town",
    "Riverside",
    "University",
    "Northgate",
    "Market",
    "Hillside",
    "Southfield",
    "Westwood",
    "Airport",
    "Islands",
    "Meadows",
];

/// A city to be simulated.
#[derive(Debug)]
pub struct City {
    /// What it was drawn by.
    pub plan: CityPlan,
    /// The seed that it was drawn by.
    pub seed: u64,
    /// Its time zone.
    pub zone: Zone,
    /// The start of its first hour.
    pub start: UtcMicros,
    /// Its weather and gatherings.
    pub sky: Sky,
    /// Its departments, in the order in which they were drawn.
    pub departments: Vec<Department>,
}

/// One department.
#[derive(Debug)]
pub struct Department {
    /// Its domain.
    pub domain: String,
    /// What it measures; a real one counts as air, which nothing is planted in.
    pub kind: Kind,
    /// Its rows are about people: they are behind a threshold.
    pub personal: bool,
    /// Its link is slow and often cut: the poor department.
    pub bad_link: bool,
    /// Its product, without the domain.
    pub product: String,
    /// Its dataset.
    pub dataset: String,
    /// The measure that is meant.
    pub measure: String,
    /// The contract's text.
    pub contract: String,
    /// Files that lie beside the contract: name and content.
    pub lookups: Vec<(String, String)>,
    /// What is planted in its rows.
    pub canaries: Vec<Canary>,
    /// The files that drive it, if it is not drawn.
    pub real: Option<RealDepartment>,
    /// Until when its windows are expected, in the city's zone; none where they go on.
    pub end: Option<NaiveDateTime>,
    /// Its windows are months, so that a question by day cannot be answered.
    pub by_month: bool,
    index: u64,
    letter: char,
    districts: u32,
    /// The district of each site.
    sites: Vec<u32>,
    district_names: Vec<String>,
    sites_by_district: Vec<Vec<u32>>,
    contributors: u64,
    canary_weight: Option<i64>,
    per_day: u64,
    shares: Shares,
}

/// Parts of a million.
#[derive(Clone, Copy, Debug, Default)]
struct Shares {
    duplicates: u64,
    late: u64,
    too_late: u64,
    rotten: u64,
}

/// A department's part of a central brain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// The contract's text.
    pub contract: String,
    /// Files that lie beside it: name and content.
    pub lookups: Vec<(String, String)>,
    /// The product, as SQL names it.
    pub table: String,
    /// The product, and the dataset.
    pub product: String,
}

/// One file of a department, as it is sent in one hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// Its name.
    pub name: String,
    /// The file.
    pub csv: Vec<u8>,
    /// Rows that are accepted when they come for the first time; those too late for a threshold product included.
    pub rows: u64,
    /// Rows that came before in the same file.
    pub duplicates: u64,
    /// Rows that cannot be taken in.
    pub rotten: u64,
    /// Rows whose window was released a day before.
    pub too_late: u64,
    /// The whole file is sent twice, as a department does that is not sure whether it arrived.
    pub resent: bool,
}

impl City {
    /// Draws the city of a plan.
    ///
    /// # Errors
    /// [`PlanError`] for numbers out of range, an unknown zone, and files of real departments that cannot be used.
    pub fn draw(seed: u64, plan: &CityPlan) -> Result<City, PlanError> {
        plan.check()?;
        let zone: Zone = plan.zone.parse().map_err(|_| PlanError::Zone(plan.zone.clone()))?;
        let start = zone.start_of_day(plan.start);
        if start.0 % HOUR_US != 0 {
            return Err(PlanError::Zone(format!("{}, which does not start its day at a full hour of UTC", plan.zone)));
        }
        let sky = Sky::draw(seed, plan.hours(), plan.districts);
        let departments = match plan.real.is_empty() {
            true => (0..plan.departments).map(|index| Department::draw(seed, plan, index)).collect(),
            false => plan.real.iter().map(Department::real).collect::<Result<_, _>>()?,
        };
        Ok(City { plan: plan.clone(), seed, zone, start, sky, departments })
    }

    /// When an hour begins.
    pub fn hour_start(&self, hour: u32) -> UtcMicros {
        UtcMicros(self.start.0 + i64::from(hour) * HOUR_US)
    }

    /// The hour that an instant lies in, if the city lives then.
    pub fn hour_of(&self, at: UtcMicros) -> Option<u32> {
        let hour = u32::try_from((at.0 - self.start.0).div_euclid(HOUR_US)).ok()?;
        (hour < self.plan.hours()).then_some(hour)
    }

    /// A department by its domain.
    pub fn department(&self, domain: &str) -> Option<&Department> {
        self.departments.iter().find(|department| department.domain == domain)
    }

    /// Rows that a drawn department has in an hour, whenever they come.
    pub fn rows_of_hour(&self, of: &Department, hour: u32) -> u64 {
        of.counts(self.seed, &self.sky, hour).iter().sum()
    }

    /// The file that a drawn department sends at the end of an hour: the rows of that hour and what comes late.
    /// Of a real one, whose files are read in order, see [`Department::feeds`].
    pub fn feed(&self, of: &Department, hour: u32) -> Feed {
        let mut feed = Feed { name: format!("{}-{hour:05}.csv", of.dataset), ..Feed::default() };
        feed.csv.extend_from_slice(contract::header(of.kind).as_bytes());
        let mut dirt = Dice::new(self.seed, &[of.index, u64::from(hour)], "dirt");
        for (stream, delay) in STREAMS.iter().enumerate() {
            let Some(of_hour) = hour.checked_sub(*delay) else { continue };
            let writer = Writer::new(of, self.start.0, of_hour, stream);
            rows::events(self.seed, &self.sky, of, of_hour, stream, |event| {
                let from = feed.csv.len();
                writer.row(&event, &mut feed.csv);
                feed.rows += 1;
                feed.too_late += u64::from(stream == TOO_LATE);
                if of.kind.has_key() && dirt.happens(of.shares.duplicates) {
                    feed.csv.extend_from_within(from..);
                    feed.duplicates += 1;
                }
                if dirt.happens(of.shares.rotten) {
                    writer.rotten(dirt.below(ROTTEN_WAYS), &mut feed.csv);
                    feed.rotten += 1;
                }
            });
        }
        feed.resent = !of.kind.has_key() && dirt.happens(of.shares.duplicates);
        feed
    }

    /// What the product of a drawn department must tell of the hours from `from` to before `until`, once the file of
    /// the hour `through` has been taken in: every accepted row once. Rows that come after their window was released
    /// count with `too_late`, as in a product that is revised; a threshold product holds them back.
    pub fn truth(&self, of: &Department, from: u32, until: u32, through: u32, too_late: bool) -> WindowTruth {
        let mut cells: BTreeMap<Coordinate, Tally> = BTreeMap::new();
        for hour in from..until {
            for (stream, delay) in STREAMS.iter().enumerate() {
                if hour + delay > through || (stream == TOO_LATE && !too_late) {
                    continue;
                }
                rows::events(self.seed, &self.sky, of, hour, stream, |event| of.count(&event, &mut cells));
            }
        }
        let cells = cells.into_iter().map(|(at, Tally { mut truth, known })| {
            truth.contributors += known.len() as u64;
            (at, truth)
        });
        WindowTruth { cells: cells.collect() }
    }
}

impl Department {
    fn draw(seed: u64, plan: &CityPlan, index: u32) -> Department {
        let kind = Kind::ALL[index as usize % Kind::ALL.len()];
        let round = index / Kind::ALL.len() as u32;
        let domain = if round == 0 { kind.name().to_owned() } else { format!("{}_{}", kind.name(), round + 1) };
        let mut dice = Dice::new(seed, &[u64::from(index)], "department");
        let sensors = match kind {
            Kind::Traffic => plan.sensors_rich,
            Kind::Air => plan.sensors_poor,
            Kind::Transit => plan.sensors_rich / 8,
            Kind::Energy => plan.sensors_rich / 2,
            Kind::Services => plan.districts * 3,
        };
        let sensors = (sensors / (1 + round)).max(1);
        // the first districts are the largest
        let sites = (0..sensors).map(|_| {
            let (one, other) = (dice.below(plan.districts.into()), dice.below(plan.districts.into()));
            one.min(other) as u32
        });
        let sites: Vec<u32> = sites.collect();
        let mut sites_by_district = vec![Vec::new(); plan.districts as usize];
        for (site, district) in (0..).zip(&sites) {
            sites_by_district[*district as usize].push(site);
        }
        let per_day = plan.events_per_day * kind.shape().parts / 1_000;
        let per_day = match kind {
            Kind::Air => u64::from(sensors) * rows::BEATS * 24,
            _ => per_day * 1_000 / (1 + u64::from(round)) / rounds_thousandths(plan.departments, kind),
        };
        let (canaries, canary_weight) = rows::canaries(seed, index.into(), &domain, kind);
        let letter = kind.name().chars().next().unwrap_or('x').to_ascii_uppercase();
        let names: Vec<String> = (0..plan.districts as usize).map(district_name).collect();
        let mut lookup = String::from("site,district\n");
        for (site, district) in sites.iter().enumerate() {
            lookup.push_str(&format!("{letter}{site:04},{}\n", names[*district as usize]));
        }
        let end = plan.start.checked_add_days(Days::new(u64::from(plan.days))).unwrap_or(plan.start);
        Department {
            contract: contract::text(&domain, kind, (plan.start, end), plan.raw_days),
            kind,
            personal: kind.threshold().is_some(),
            bad_link: kind == Kind::Air,
            product: kind.shape().product.to_owned(),
            dataset: kind.shape().product.to_owned(),
            measure: kind.shape().measure.to_owned(),
            lookups: vec![(contract::SITES_FILE.to_owned(), lookup)],
            canaries,
            real: None,
            end: None,
            by_month: false,
            index: index.into(),
            letter,
            districts: plan.districts,
            sites,
            district_names: names,
            sites_by_district,
            contributors: (per_day / 6).max(40),
            canary_weight,
            per_day,
            shares: Shares {
                duplicates: millionths(plan.duplicates),
                late: millionths(plan.late),
                too_late: millionths(plan.too_late),
                rotten: millionths(plan.rotten),
            },
            domain,
        }
    }

    /// Writes the contract and its lookups into the contracts' folder of a node.
    pub fn write_contract(&self, folder: &Path) -> std::io::Result<()> {
        fs::write(folder.join(format!("{}.yaml", self.product)), &self.contract)?;
        self.lookups.iter().try_for_each(|(name, content)| fs::write(folder.join(name), content))
    }

    /// The same department as part of a central brain of the domain `central`: its contract under that domain, its
    /// product and dataset named by both so that no two are called alike.
    pub fn gathered(&self, central: &str) -> Gathered {
        let product = format!("{}_{}", self.domain, self.product);
        let contract = self
            .contract
            .replacen(&format!("id: {}.{}\n", self.domain, self.product), &format!("id: {central}.{product}\n"), 1)
            .replacen(&format!("- name: {}\n", self.product), &format!("- name: {product}\n"), 1)
            .replace(
                &format!("file: {}", contract::SITES_FILE),
                &format!("file: {}-{}", self.domain, contract::SITES_FILE),
            );
        let lookups = self.lookups.iter().map(|(name, content)| match name == contract::SITES_FILE {
            true => (format!("{}-{name}", self.domain), content.clone()),
            false => (name.clone(), content.clone()),
        });
        Gathered { contract, lookups: lookups.collect(), table: format!("{central}.{product}"), product }
    }

    /// `domain.product`, as SQL names it.
    pub fn table(&self) -> String {
        format!("{}.{}", self.domain, self.product)
    }

    /// The hour by which every window of its product has ended that ends while the city lives.
    pub fn last_hour(&self, city: &City) -> u32 {
        city.plan.hours() / self.grain_hours() * self.grain_hours()
    }

    /// Hours of one window of its product.
    pub fn grain_hours(&self) -> u32 {
        self.kind.shape().grain_hours
    }

    /// Its sensors, stops, meters or zones; 0 of a real one.
    pub fn sensors(&self) -> usize {
        self.sites.len()
    }

    /// Rows that each stream of an hour has, whenever they come.
    fn counts(&self, seed: u64, sky: &Sky, hour: u32) -> [u64; STREAMS.len()] {
        let shape = self.kind.shape();
        let start = u64::from(hour / 24);
        // the sky's day 0 is the plan's first; which weekday that is only turns the week, so Monday it is
        let (of_day, of_week) = ((hour % 24) as usize, (start % 7) as usize);
        let whole: u64 = shape.day.iter().sum();
        let weathered = self.kind.weathered(sky.at(hour));
        let busy = u128::from(self.per_day) * u128::from(shape.day[of_day] * shape.week[of_week] * weathered);
        let all = ((busy / u128::from(whole * 100 * 100)) as u64).min(STREAM_ROWS_MAX);
        let mut dice = Dice::new(seed, &[self.index, u64::from(hour)], "counts");
        let late = dice.share_of(all, self.shares.late);
        let too_late = dice.share_of(all, self.shares.too_late);
        [all - (late + too_late).min(all), late - late / 2, late / 2, too_late]
    }

    fn site_in(&self, district: u32, dice: &mut Dice) -> Option<u32> {
        let sites = &self.sites_by_district[district as usize];
        sites.get(dice.below(sites.len() as u64) as usize).copied()
    }

    fn contributor_text(&self, contributor: u64) -> String {
        if contributor == CANARY {
            return self.canary("contributor").to_owned();
        }
        match self.kind {
            Kind::Services => format!("+45{contributor:08}"),
            Kind::Traffic | Kind::Transit | Kind::Energy | Kind::Air => format!("{}P{contributor:07}", self.letter),
        }
    }

    fn canary(&self, place: &str) -> &str {
        let at = self.canaries.iter().find(|canary| canary.place == place);
        match at.map(|canary| &canary.thing) {
            Some(CanaryThing::Text(text)) => text,
            _ => "",
        }
    }

    /// Counts a row where it belongs.
    fn count(&self, event: &rows::Event, cells: &mut BTreeMap<Coordinate, Tally>) {
        let district = &self.district_names[self.sites[event.site as usize] as usize];
        let mut at = vec![district.clone()];
        if self.kind == Kind::Services {
            at.push(kind::TOPICS[event.topic].to_owned());
        }
        let Tally { truth, known } = cells.entry(at).or_default();
        truth.rows += 1;
        truth.weight += i128::from(event.weight);
        if let Some(value) = event.value {
            truth.value.observe(value).expect("a drawn value is one that a measure has");
        }
        match self.kind {
            Kind::Transit => truth.contributors += event.value.unwrap_or(0).unsigned_abs(),
            Kind::Air => {}
            Kind::Traffic | Kind::Energy | Kind::Services => {
                known.insert(event.contributor);
            }
        }
    }
}

/// The harmonic sum by which departments of one kind share its events, in thousandths.
fn rounds_thousandths(departments: u32, kind: Kind) -> u64 {
    let before = Kind::ALL.iter().position(|other| *other == kind).unwrap_or(0) as u32;
    let of_kind = (departments + Kind::ALL.len() as u32 - 1 - before) / Kind::ALL.len() as u32;
    (0..u64::from(of_kind)).map(|round| 1_000 / (1 + round)).sum::<u64>().max(1)
}

fn district_name(index: usize) -> String {
    DISTRICTS.get(index).map_or_else(|| format!("Quarter {}", index + 1), |name| (*name).to_owned())
}
