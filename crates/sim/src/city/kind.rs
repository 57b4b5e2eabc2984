//! The five kinds of department: what each measures, when it is busy, and what personal things its files hold.

use serde::{Deserialize, Serialize};

use super::dice::Dice;
use super::sky::Weather;

/// The kind of a department.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Cars that pass a sensor: one row a car, each known by its plate.
    Traffic,
    /// Stops of buses: one row a stop, counting the people who board.
    Transit,
    /// Electricity meters of homes: one row a reading.
    Energy,
    /// Calls of citizens: one row a call, known by the caller's telephone.
    Services,
    /// Air stations, which concern nobody: one row a reading, at a fixed beat.
    Air,
}

/// How a kind's rows look.
pub(super) struct Shape {
    /// The product, and the dataset.
    pub product: &'static str,
    /// One line for people.
    pub purpose: &'static str,
    /// The measure that is meant.
    pub measure: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Its decimals.
    pub decimals: u8,
    /// Its range, both ends included, scaled.
    pub range: (i64, i64),
    /// A level, not an amount.
    pub gauge: bool,
    /// Hours of one window.
    pub grain_hours: u32,
    /// Parts in a thousand of the city's events.
    pub parts: u64,
    /// How busy each hour of a day is.
    pub day: [u64; 24],
    /// How busy each day of a week is from Monday, in percent.
    pub week: [u64; 7],
}

/// Busy in the morning and in the evening.
const COMMUTE: [u64; 24] =
    [10, 6, 4, 4, 8, 22, 55, 95, 100, 70, 58, 60, 66, 64, 68, 82, 100, 98, 72, 50, 38, 30, 24, 16];
/// Busy when people are at home.
const HOME: [u64; 24] =
    [50, 46, 44, 44, 46, 52, 66, 74, 66, 60, 58, 60, 64, 62, 60, 64, 76, 92, 100, 98, 90, 80, 68, 56];
/// Busy in office hours.
const OFFICE: [u64; 24] = [4, 3, 2, 2, 3, 6, 18, 45, 80, 100, 98, 92, 80, 84, 88, 82, 66, 48, 36, 30, 24, 18, 12, 7];
/// Always the same.
const STEADY: [u64; 24] = [1; 24];

impl Kind {
    /// All of them, in the order in which a city gets them.
    pub const ALL: [Kind; 5] = [Kind::Traffic, Kind::Transit, Kind::Energy, Kind::Services, Kind::Air];

    /// Its name, which the first department of the kind bears.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Traffic => "traffic",
            Kind::Transit => "transit",
            Kind::Energy => "energy",
            Kind::Services => "services",
            Kind::Air => "air",
        }
    }

    /// Whether a row has a key, so that the same row sent again counts once.
    pub fn has_key(self) -> bool {
        matches!(self, Kind::Transit | Kind::Energy | Kind::Air)
    }

    /// Contributors below which a cell is held back; none where the product is about nobody.
    pub fn threshold(self) -> Option<u64> {
        (self != Kind::Air).then_some(10)
    }

    /// How its rows look.
    pub(super) fn shape(self) -> &'static Shape {
        match self {
            Kind::Traffic => &Shape {
                product: "passages",
                purpose: "Show how fast traffic moves in each district",
                measure: "speed",
                unit: "km/h",
                decimals: 1,
                range: (0, 1_600),
                gauge: true,
                grain_hours: 1,
                parts: 620,
                day: COMMUTE,
                week: [100, 102, 103, 104, 108, 72, 58],
            },
            Kind::Transit => &Shape {
                product: "boardings",
                purpose: "Show where people board buses",
                measure: "boarded",
                unit: "people",
                decimals: 0,
                range: (0, 500),
                gauge: false,
                grain_hours: 1,
                parts: 200,
                day: COMMUTE,
                week: [100, 101, 101, 102, 106, 66, 48],
            },
            Kind::Energy => &Shape {
                product: "meters",
                purpose: "Show how much electricity homes use in each district",
                measure: "energy",
                unit: "kW.h",
                decimals: 3,
                range: (0, 50_000),
                gauge: false,
                grain_hours: 1,
                parts: 160,
                day: HOME,
                week: [98, 98, 98, 99, 100, 108, 110],
            },
            Kind::Services => &Shape {
                product: "calls",
                purpose: "Show what citizens call the city for",
                measure: "minutes",
                unit: "min",
                decimals: 1,
                range: (0, 2_400),
                gauge: false,
                grain_hours: 24,
                parts: 20,
                day: OFFICE,
                week: [118, 106, 102, 100, 96, 30, 22],
            },
            Kind::Air => &Shape {
                product: "readings",
                purpose: "Show how clean the air is in each district",
                measure: "no2",
                unit: "ug/m3",
                decimals: 1,
                range: (0, 5_000),
                gauge: true,
                grain_hours: 1,
                parts: 0,
                day: STEADY,
                week: [100; 7],
            },
        }
    }

    /// How the weather changes how many rows come, in percent.
    pub(super) fn weathered(self, weather: Weather) -> u64 {
        let Weather { temperature, rain, wind } = weather;
        let percent = match self {
            Kind::Traffic => 100 + rain.min(60) / 4,
            Kind::Transit => 100 + rain.min(60) / 2,
            Kind::Energy | Kind::Air => 100,
            Kind::Services => 100 + (wind - 80).clamp(0, 120) + (-temperature).clamp(0, 100) / 2,
        };
        percent as u64
    }

    /// A value of its measure, scaled, within the range.
    pub(super) fn value(self, dice: &mut Dice, hour: u32, weather: Weather, pull: u64) -> i64 {
        let of_day = (hour % 24) as usize;
        let busy = self.shape().day[of_day] as i64;
        let crowd = pull as i64;
        let raw = match self {
            Kind::Traffic => 560 - 24 * busy / 10 - 2 * weather.rain.min(60) - crowd / 3 + dice.around(90),
            Kind::Transit => 1 + busy / 8 + weather.rain.min(60) / 10 + crowd / 20 + dice.around(4).abs(),
            Kind::Energy => 120 + 4 * busy + 3 * (180 - weather.temperature).max(0) + dice.around(140).abs(),
            Kind::Services => 45 + dice.around(30).abs() + weather.wind.min(120) / 6,
            Kind::Air => 120 + 3 * COMMUTE[of_day] as i64 - weather.wind - weather.rain.min(60) + dice.around(25),
        };
        let (least, most) = self.shape().range;
        // a bus that nobody boards tells nothing
        raw.clamp(least.max(1), most)
    }
}

/// What citizens call for.
pub(super) const TOPICS: [&str; 6] =
    ["Street light", "Waste", "Noise", "Fallen tree", "Water leak", "Graffiti and other things that need a brush"];
