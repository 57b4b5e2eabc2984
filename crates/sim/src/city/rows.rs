//! The rows of one department in one hour: drawn as events, written as its files have them.

use chrono::{DateTime, Timelike};

use super::canary::{Canary, CanaryThing};
use super::contract::{self, WEIGHT_MAX};
use super::dice::Dice;
use super::kind::{Kind, TOPICS};
use super::{Department, HOUR_US, Sky};

/// Hours after its own in which a row of each stream comes: at once, late, and after its window was released.
pub(super) const STREAMS: [u32; 4] = [0, 1, 2, 30];
/// The last of [`STREAMS`]: rows that come after their window was released.
pub(super) const TOO_LATE: usize = 3;
/// Between the weights of two rows; the lower digits are drawn, so that sums of few rows differ too.
const WEIGHT_STEP: u64 = 1_024;
/// Rows of one stream in one hour, at the most: weights of streams must not meet.
pub(super) const STREAM_ROWS_MAX: u64 = 20_000_000;
/// Readings of each air station in an hour.
pub(super) const BEATS: u64 = 12;
/// The canary rows: the first row of every so many hours.
const CANARY_HOURS: u32 = 6;

/// One accepted row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    /// Its place in its stream.
    pub index: u64,
    /// Seconds from the start of its hour.
    pub second: u32,
    /// Which sensor, stop or meter group.
    pub site: u32,
    /// Which topic; 0 where there are none.
    pub topic: usize,
    /// Whom it is from; [`CANARY`] for the planted one.
    pub contributor: u64,
    /// The measure, scaled; none where it is missing.
    pub value: Option<i64>,
    /// Its weight.
    pub weight: i64,
}

/// The contributor that is a canary.
pub(super) const CANARY: u64 = u64::MAX;

/// Draws the events of one stream of one hour, in order, and gives each to `each`.
pub(super) fn events(seed: u64, sky: &Sky, of: &Department, hour: u32, stream: usize, mut each: impl FnMut(Event)) {
    let mut dice = Dice::new(seed, &[of.index, u64::from(hour), stream as u64], "events");
    let (kind, weather) = (of.kind, sky.at(hour));
    let count = of.counts(seed, sky, hour)[stream];
    let pulls: Vec<u64> = (0..of.districts).map(|district| sky.pull(hour, district)).collect();
    let pull_all: u64 = pulls.iter().sum();
    let base = stream as u64 * STREAM_ROWS_MAX;
    let planted = stream == 0 && hour % CANARY_HOURS == 1;
    for index in 0..count {
        let (site, second) = match kind {
            Kind::Air if stream == 0 => {
                let sites = of.sites.len() as u64;
                ((index % sites) as u32, (index / sites * (3_600 / BEATS)) as u32)
            }
            _ => {
                let drawn = dice.below(100 * u64::from(of.districts) + pull_all);
                let site = match pulled(drawn, &pulls).and_then(|district| of.site_in(district, &mut dice)) {
                    Some(site) => site,
                    None => dice.below(of.sites.len() as u64) as u32,
                };
                let step = 3_600_000 / count;
                (site, ((index * 3_600_000 / count + dice.below(step.max(1))) / 1_000).min(3_599) as u32)
            }
        };
        let planted = planted && index == 0;
        let value = kind.value(&mut dice, hour, weather, pulls[of.sites[site as usize] as usize]);
        let missing = kind == Kind::Air && dice.below(200) == 0;
        let topic = if kind == Kind::Services { topic_of(&mut dice) } else { 0 };
        let weight = match of.canary_weight.filter(|_| planted) {
            Some(weight) => weight,
            None => ((base + index) * WEIGHT_STEP + dice.below(WEIGHT_STEP)) as i64,
        };
        let contributor = if planted { CANARY } else { dice.below(of.contributors) };
        each(Event { index, second, site, topic, contributor, value: (!missing).then_some(value), weight });
    }
}

/// The district that a gathering draws this row to.
fn pulled(drawn: u64, pulls: &[u64]) -> Option<u32> {
    let mut left = drawn;
    for (district, pull) in pulls.iter().enumerate() {
        if left < *pull {
            return Some(district as u32);
        }
        left -= pull;
    }
    None
}

/// The first topics come most.
fn topic_of(dice: &mut Dice) -> usize {
    let (one, other) = (dice.below(TOPICS.len() as u64), dice.below(TOPICS.len() as u64));
    one.min(other) as usize
}

/// Writes rows as the files of a department have them.
pub(super) struct Writer<'c> {
    of: &'c Department,
    hour: u32,
    /// `2024-06-03T14:`, in the dialect of the kind.
    prefix: String,
    start_s: i64,
    stream: usize,
}

impl<'c> Writer<'c> {
    /// For the rows of one stream of one hour.
    pub(super) fn new(of: &'c Department, city_start_us: i64, hour: u32, stream: usize) -> Writer<'c> {
        let start_us = city_start_us + i64::from(hour) * HOUR_US;
        let at = DateTime::from_timestamp_micros(start_us).unwrap_or_default();
        let form = match of.kind {
            Kind::Transit => "%Y-%m-%d %H:",
            Kind::Services => "%d/%m/%Y %H:",
            Kind::Traffic | Kind::Energy | Kind::Air => "%Y-%m-%dT%H:",
        };
        debug_assert_eq!(at.minute(), 0, "cities start at a full hour");
        Writer { of, hour, prefix: at.format(form).to_string(), start_s: start_us / 1_000_000, stream }
    }

    /// Writes one row.
    pub(super) fn row(&self, event: &Event, out: &mut Vec<u8>) {
        let of = self.of;
        let mark = if of.kind == Kind::Transit { b';' } else { b',' };
        let site = format!("{}{:04}", of.letter, event.site);
        let who = of.contributor_text(event.contributor);
        let row = format!("{}-{}-{}-{}", of.letter, self.hour, self.stream, event.index);
        let [name, phone, text] = match event.contributor {
            CANARY => [of.canary("name"), of.canary("phone"), of.canary("text")],
            _ => ["A. Person", "+4500000000", "as usual"],
        };
        let mut field = Fields { out, mark, first: true };
        match of.kind {
            Kind::Traffic => {
                field.time(&self.prefix, event.second, "Z");
                field.texts(&[&site, &who, name]);
                field.value(event.value, 1);
                field.number(event.weight);
                field.texts(&[text]);
            }
            Kind::Transit => {
                field.texts(&[&row]);
                field.time(&self.prefix, event.second, "");
                field.texts(&[&site]);
                field.value(event.value, 0);
                field.number(event.weight);
                field.texts(&[name]);
            }
            Kind::Energy => {
                field.texts(&[&row]);
                field.number(self.start_s + i64::from(event.second));
                field.texts(&[&site, &who, name, phone]);
                field.value(event.value, 3);
                field.number(event.weight);
            }
            Kind::Services => {
                field.time(&self.prefix, event.second, "");
                field.texts(&[&site, TOPICS[event.topic], &who, name]);
                field.value(event.value, 1);
                field.number(event.weight);
                field.texts(&[text]);
            }
            Kind::Air => {
                field.texts(&[&row]);
                field.time(&self.prefix, event.second, "+00:00");
                field.texts(&[&site]);
                field.value(event.value, 1);
                field.number(event.weight);
                field.texts(&[name, phone]);
            }
        }
        out.push(b'\n');
    }

    /// Writes a row that cannot be taken in.
    pub(super) fn rotten(&self, how: u64, out: &mut Vec<u8>) {
        let of = self.of;
        let start = out.len();
        let canary = of.canaries.iter().find_map(|canary| match (&canary.thing, canary.place.as_str()) {
            (CanaryThing::Number { scaled, .. }, super::REJECTED) => Some(*scaled),
            _ => None,
        });
        let value = canary.unwrap_or(WEIGHT_MAX);
        let event =
            Event { index: 0, second: 0, site: 0, topic: 0, contributor: CANARY, value: Some(value), weight: 1 };
        self.row(&event, out);
        let line = String::from_utf8_lossy(&out[start..]).into_owned();
        let broken = match how {
            // out of range, as it stands
            0 => line,
            1 => line.replacen(&format!("{}0000", of.letter), "NOWHERE", 1),
            2 => line.split_inclusive([',', ';']).next().unwrap_or_default().to_owned() + "\n",
            _ => line.replacen(
                &civicmesh_model::number::format_scaled(value.into(), of.kind.shape().decimals),
                "n/a?",
                1,
            ),
        };
        out.truncate(start);
        out.extend_from_slice(broken.as_bytes());
    }
}

/// How many ways of being rotten there are.
pub(super) const ROTTEN_WAYS: u64 = 4;

/// One row's fields, one after the other.
struct Fields<'o> {
    out: &'o mut Vec<u8>,
    mark: u8,
    first: bool,
}

impl Fields<'_> {
    fn next(&mut self) {
        if !self.first {
            self.out.push(self.mark);
        }
        self.first = false;
    }

    fn texts(&mut self, texts: &[&str]) {
        for text in texts {
            self.next();
            self.out.extend_from_slice(text.as_bytes());
        }
    }

    fn number(&mut self, number: i64) {
        self.next();
        digits(self.out, number);
    }

    /// A scaled value with its decimals; what stands for a missing one if it is.
    fn value(&mut self, value: Option<i64>, decimals: u32) {
        self.next();
        let Some(value) = value else { return self.out.extend_from_slice(b"-999") };
        let scale = 10_i64.pow(decimals);
        digits(self.out, value / scale);
        if decimals > 0 {
            self.out.push(b'.');
            let mut place = scale / 10;
            while place > 0 {
                self.out.push(b'0' + (value / place % 10) as u8);
                place /= 10;
            }
        }
    }

    fn time(&mut self, prefix: &str, second: u32, suffix: &str) {
        self.next();
        self.out.extend_from_slice(prefix.as_bytes());
        let (minute, second) = (second / 60, second % 60);
        let two = |number: u32| [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        self.out.extend_from_slice(&two(minute));
        self.out.push(b':');
        self.out.extend_from_slice(&two(second));
        self.out.extend_from_slice(suffix.as_bytes());
    }
}

/// A number that is not negative, in digits.
fn digits(out: &mut Vec<u8>, number: i64) {
    let (mut buffer, mut at, mut left) = ([0_u8; 20], 20, number.unsigned_abs());
    loop {
        at -= 1;
        buffer[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&buffer[at..]);
}

/// What is planted in the rows of a department.
pub(super) fn canaries(seed: u64, index: u64, domain: &str, kind: Kind) -> (Vec<Canary>, Option<i64>) {
    let mut dice = Dice::new(seed, &[index], "canaries");
    let mut planted = Vec::new();
    let mut plant =
        |place: &str, thing| planted.push(Canary { domain: domain.to_owned(), place: place.to_owned(), thing });
    plant("contributor", CanaryThing::Text(format!("QZ{:012X}", dice.word() >> 16)));
    plant("name", CanaryThing::Text(format!("Canary Q{:010x}", dice.word() >> 24)));
    plant("phone", CanaryThing::Text(format!("+4599{:09}", dice.below(1_000_000_000))));
    plant("text", CanaryThing::Text(format!("tell nobody {:012x}", dice.word() >> 16)));
    let mut large = || 700_000_000_000 + dice.below(250_000_000_000) as i64;
    let (weight, rejected) = (large(), large());
    let decimals = kind.shape().decimals;
    plant(super::REJECTED, CanaryThing::Number { scaled: rejected, decimals });
    // the least and the greatest value of an open product may leave: nothing is planted in its measures
    let weight = kind.threshold().map(|_| weight);
    if let Some(scaled) = weight {
        plant(contract::WEIGHT, CanaryThing::Number { scaled, decimals: 0 });
    }
    (planted, weight)
}
