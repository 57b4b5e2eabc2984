//! The weather over a city and what happens in it, hour by hour: what makes the feeds of its departments go together.

use super::dice::Dice;

/// Hours in a day.
const DAY: u64 = 24;

/// The weather of one hour, the same for the whole city.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Air temperature, in tenths of a degree Celsius.
    pub temperature: i64,
    /// Rain, in tenths of a millimetre.
    pub rain: i64,
    /// Wind, in tenths of a metre a second.
    pub wind: i64,
}

/// Something that draws people to one district.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathering {
    /// Its first hour, counted from the city's start.
    pub from: u32,
    /// The first hour after it.
    pub until: u32,
    /// Where.
    pub district: u32,
    /// How many more rows that district gives meanwhile, in percent.
    pub pull: u64,
}

/// The weather and the gatherings of every hour.
#[derive(Clone, Debug, Default)]
pub struct Sky {
    /// By hour.
    pub weather: Vec<Weather>,
    /// Sorted by their first hour.
    pub gatherings: Vec<Gathering>,
}

/// How warm the hours of a day are against its mean, in tenths of a degree.
const WARMTH: [i64; 24] =
    [-30, -35, -40, -44, -46, -44, -36, -24, -10, 4, 16, 27, 36, 42, 45, 44, 38, 29, 18, 6, -5, -14, -20, -26];
/// One day in so many has a gathering.
const GATHERING_EVERY_DAYS: u64 = 2;

impl Sky {
    /// The sky over so many hours and districts. Weather keeps from hour to hour and drifts from day to day.
    pub(super) fn draw(seed: u64, hours: u32, districts: u32) -> Sky {
        let mut dice = Dice::new(seed, &[], "sky");
        let (mut mean, mut front, mut wind) = (120 + dice.around(40), 0_i64, 40_i64);
        let mut weather = Vec::with_capacity(hours as usize);
        let mut gatherings = Vec::new();
        for hour in 0..u64::from(hours) {
            if hour % DAY == 0 {
                mean += (120 - mean) / 5 + dice.around(22);
                if dice.below(GATHERING_EVERY_DAYS) == 0 {
                    let from = hour + 14 + dice.below(6);
                    let until = from + 2 + dice.below(4);
                    let district = dice.below(u64::from(districts)) as u32;
                    let pull = 80 + dice.below(240);
                    gatherings.push(Gathering { from: from as u32, until: until as u32, district, pull });
                }
            }
            // a front comes seldom, and goes by halves every five hours or so
            front = front * 87 / 100 + if dice.below(24) == 0 { 25 + dice.below(60) as i64 } else { 0 };
            wind = (wind * 9 / 10 + 4 + front / 12 + dice.around(5)).clamp(0, 300);
            let rain = (front - 12 + dice.around(6)).max(0);
            let temperature = mean + WARMTH[(hour % DAY) as usize] - front / 3 + dice.around(4);
            weather.push(Weather { temperature, rain, wind });
        }
        Sky { weather, gatherings }
    }

    /// The weather of an hour; that of the last one beyond it.
    pub fn at(&self, hour: u32) -> Weather {
        self.weather.get(hour as usize).or(self.weather.last()).copied().unwrap_or_default()
    }

    /// How many more rows a district gives in an hour, in percent.
    pub fn pull(&self, hour: u32, district: u32) -> u64 {
        let here = |gathering: &&Gathering| {
            gathering.district == district && (gathering.from..gathering.until).contains(&hour)
        };
        self.gatherings.iter().filter(here).map(|gathering| gathering.pull).sum()
    }
}
