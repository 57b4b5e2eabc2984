//! Whether the engine over cells agrees with plain SQL over raw rows: generated questions over generated rows, around
//! the days on which clocks change. A disagreement prints its seed.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use civicmesh_model::grain::{Calendar, Grain};
use civicmesh_model::number::{Deviation, mean, stddev, variance};
use civicmesh_model::time::{UtcMicros, Zone};

use super::fixture::{Node, Row, Table, World, contract};
use crate::civil::Unit;

const WORLDS: u64 = 24;
const QUESTIONS_PER_WORLD: u64 = 16;
const ROWS: u64 = 400;
const DAY_US: i64 = 86_400_000_000;

/// A small generator (splitmix64): the seed is all that a failure needs to come back.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len() as u64) as usize]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

const GRAINS: [&str; 6] = ["15 minutes", "1 hour", "3 hours", "1 day", "1 week", "1 month"];
const ZONES: [&str; 4] = ["Europe/Copenhagen", "America/New_York", "Asia/Kathmandu", "UTC"];

/// Rows over five weeks, around a change of the clocks.
fn world(dice: &mut Dice) -> (World, Calendar) {
    let grain = *dice.pick(&GRAINS);
    let zone = *dice.pick(&ZONES);
    let (start, first) = *dice.pick(&[("2020-03-01", "2020-03-02T06:00:00Z"), ("2020-10-01", "2020-10-05T06:00:00Z")]);
    let windows = format!("grain: {grain}, start: {start}");
    let all = "publish: [count, sum, sum_squares, min, max]";
    let measures = [("a", format!("unit: \"1\", decimals: 2, {all}")), ("b", format!("unit: \"1\", {all}"))];
    let measures = measures.each_ref().map(|(name, terms)| (*name, terms.as_str()));
    let contract = contract("lab.readings", &["place", "kind"], &windows, &measures, None);
    let first: UtcMicros = first.parse().unwrap();
    let rows = (0..ROWS).map(|_| {
        // many at the same few days, so that cells hold several rows
        let day = if dice.chance(60) { dice.roll(3) * 7 + 5 } else { dice.roll(35) };
        let at = first.0 + day as i64 * DAY_US + dice.roll(DAY_US as u64) as i64;
        let value = |dice: &mut Dice, size: u64| (!dice.chance(10)).then(|| dice.roll(2 * size) as i64 - size as i64);
        Row {
            at: UtcMicros(at),
            coordinate: vec![format!("p{}", dice.roll(4)), format!("k{}", dice.roll(3))],
            values: vec![value(dice, 1_000_000), value(dice, 50)],
            distinct: Vec::new(),
        }
    });
    let rows = rows.collect();
    let calendar = contract.calendar(zone.parse().unwrap());
    (World::new(zone, vec![Table { contract, rows }]), calendar)
}

/// Expressions that may be grouped by.
fn keys(calendar: &Calendar) -> Vec<String> {
    let mut keys: Vec<String> = ["place", "kind", "upper(place)", "CASE WHEN place = 'p1' THEN kind ELSE 'other' END"]
        .map(str::to_owned)
        .into();
    let grain = calendar.grain();
    for unit in ["minute", "hour", "day", "week", "month", "quarter", "year"] {
        if Unit::of_trunc(unit).is_some_and(|unit| unit.holds(grain)) {
            keys.push(format!("date_trunc('{unit}', time)"));
        }
    }
    for field in ["hour", "day", "dow", "doy", "week", "month", "year"] {
        if Unit::of_field(field).is_some_and(|unit| unit.holds(grain)) {
            keys.push(format!("extract({field} FROM time)"));
        }
    }
    if Unit::Day.holds(grain) {
        keys.push("CAST(time AS DATE)".to_owned());
    }
    match grain {
        Grain::Minutes(_) => keys.push("date_bin(INTERVAL '15 minutes', time)".to_owned()),
        Grain::Hours(1) if calendar.zone().name() != "Asia/Kathmandu" => {
            keys.push("date_bin(INTERVAL '2 hours', time)".to_owned());
        }
        _ => {}
    }
    keys
}

/// A condition on dimensions and time.
fn condition(dice: &mut Dice, calendar: &Calendar) -> String {
    let at = UtcMicros("2020-03-02T06:00:00Z".parse::<UtcMicros>().unwrap().0 + dice.roll(250) as i64 * DAY_US);
    let window = calendar.window_of(at);
    let zone: Zone = calendar.zone();
    let say = |at: UtcMicros| match zone.start_of_day(zone.to_local(at).date()) == at {
        true => zone.to_local(at).format("%Y-%m-%d").to_string(),
        false => at.to_string(),
    };
    let (start, end) = (say(window.start), say(window.end));
    match dice.roll(10) {
        0 => "place = 'p0'".to_owned(),
        1 => "kind IN ('k0', 'k2') AND place <> 'p3'".to_owned(),
        2 => format!("time >= '{start}'"),
        3 => format!("time < '{end}'"),
        4 => format!("(time < '{start}' OR time >= '{end}' OR kind LIKE '%1')"),
        5 => format!("NOT (time >= '{start}' AND time < '{end}')"),
        6 if Unit::Day.holds(calendar.grain()) => "extract(dow FROM time) IN (0, 6, 3)".to_owned(),
        7 if Unit::Day.holds(calendar.grain()) => {
            format!("CAST(time AS DATE) >= DATE '{}'", zone.to_local(at).format("%Y-%m-%d"))
        }
        8 if Unit::Week.holds(calendar.grain()) => {
            format!("date_trunc('week', time) < '{}'", zone.to_local(at).format("%Y-%m-%d"))
        }
        _ => "place || kind > 'p1k1'".to_owned(),
    }
}

/// An aggregate: as the engine is asked, and how the same is computed from what raw rows are asked.
struct Aggregate {
    sql: String,
    raw: Vec<String>,
    says: Says,
}

#[derive(Clone, Copy)]
enum Says {
    /// The very same.
    Same,
    /// The mean of a sum and a count, with so many decimals.
    Mean(u8),
    /// A deviation of a sum, a sum of squares and a count.
    Spread(u8, Spread, fn() -> Deviation),
}

/// The model's variance or standard deviation.
type Spread = fn(u64, i128, i128, u8, Deviation) -> Option<f64>;

fn aggregate(dice: &mut Dice, calendar: &Calendar) -> Aggregate {
    let filter = match dice.chance(25) {
        true => format!(" FILTER (WHERE {})", condition(dice, calendar)),
        false => String::new(),
    };
    let (measure, decimals) = *dice.pick(&[("a", 2), ("b", 0)]);
    let same = |text: String| Aggregate {
        raw: vec![format!("{text}{filter}")],
        sql: format!("{text}{filter}"),
        says: Says::Same,
    };
    let of = |sql: String, raw: &[String], says| Aggregate {
        sql: format!("{sql}{filter}"),
        raw: raw.iter().map(|raw| format!("{raw}{filter}")).collect(),
        says,
    };
    let whole = "CASE WHEN kind = 'k1' THEN 3 WHEN kind = 'k2' THEN NULL ELSE -1 END";
    match dice.roll(14) {
        0 => same("count(*)".to_owned()),
        1 => same(format!("count({measure})")),
        2 => same("count(place)".to_owned()),
        3 => same(format!("sum({measure})")),
        4 => same(format!("min({measure})")),
        5 => same(format!("max({measure})")),
        6 => same("sum(1)".to_owned()),
        7 => same(format!("sum({whole})")),
        8 => same("count(DISTINCT place)".to_owned()),
        9 => same("max(kind)".to_owned()),
        10 => same(format!("count({whole})")),
        11 => of(format!("avg({whole})"), &[format!("sum({whole})"), format!("count({whole})")], Says::Mean(0)),
        12 => of(
            format!("avg({measure})"),
            &[format!("sum({measure})"), format!("count({measure})")],
            Says::Mean(decimals),
        ),
        _ => {
            let (name, says): (&str, Spread) = *dice.pick(&[("stddev", stddev as _), ("var", variance as _)]);
            let (suffix, deviation): (&str, fn() -> Deviation) =
                *dice.pick(&[("_samp", (|| Deviation::Sample) as _), ("_pop", (|| Deviation::Population) as _)]);
            let raw = [format!("sum({measure})"), format!("sum({measure} * {measure})"), format!("count({measure})")];
            of(format!("{name}{suffix}({measure})"), &raw, Says::Spread(decimals, says, deviation))
        }
    }
}

/// A question to the engine, the one to plain SQL, and the aggregates that follow its keys.
struct Question {
    sql: String,
    raw: String,
    keys: usize,
    aggregates: Vec<Aggregate>,
}

fn question(dice: &mut Dice, calendar: &Calendar) -> Question {
    let possible = keys(calendar);
    let mut keys: Vec<String> = (0..dice.roll(4)).map(|_| dice.pick(&possible).clone()).collect();
    keys.sort();
    keys.dedup();
    let aggregates: Vec<Aggregate> = (0..=dice.roll(4)).map(|_| aggregate(dice, calendar)).collect();
    let conditions = (0..dice.roll(3)).map(|_| condition(dice, calendar)).collect::<Vec<_>>();
    let filter = match conditions.is_empty() {
        true => String::new(),
        false => format!(" WHERE {}", conditions.join(" AND ")),
    };
    let from = match dice.roll(4) {
        0 => format!("(SELECT * FROM lab.readings{filter}) AS r"),
        1 => format!("(SELECT b, kind, a, time, place FROM lab.readings{filter}) AS r"),
        2 => {
            format!("lab.readings JOIN (VALUES ('p0', 1), ('p1', 2), ('p1', 3)) AS v(code, n) ON code = place{filter}")
        }
        _ => format!("lab.readings{filter}"),
    };
    let group = match (keys.is_empty(), dice.roll(4)) {
        (true, _) => String::new(),
        (false, 0) => format!(" GROUP BY ROLLUP ({})", keys.join(", ")),
        (false, 1) => format!(" GROUP BY CUBE ({})", keys.join(", ")),
        (false, _) => format!(" GROUP BY {}", keys.join(", ")),
    };
    let having = if dice.chance(20) { " HAVING count(*) > 3" } else { "" };
    // every column under a name of its own: the same aggregate may come twice
    let named = |columns: Vec<&String>| {
        let columns = columns.into_iter().enumerate().map(|(n, column)| format!("{column} AS c{n}"));
        columns.collect::<Vec<_>>().join(", ")
    };
    let columns = named(keys.iter().chain(aggregates.iter().map(|aggregate| &aggregate.sql)).collect());
    let raw_columns = named(keys.iter().chain(aggregates.iter().flat_map(|aggregate| &aggregate.raw)).collect());
    Question {
        sql: format!("SELECT {columns} FROM {from}{group}{having}"),
        raw: format!("SELECT {raw_columns} FROM {from}{group}{having}"),
        keys: keys.len(),
        aggregates,
    }
}

fn text(batch: &RecordBatch, column: usize, row: usize) -> String {
    let values = batch.column(column);
    match values.data_type() {
        _ if values.is_null(row) => "NULL".to_owned(),
        DataType::Float64 => format!("{:?}", values.as_primitive::<Float64Type>().value(row)),
        _ => array_value_to_string(values, row).unwrap(),
    }
}

/// What the engine should say, from a row of raw answers.
fn expected(question: &Question, batch: &RecordBatch, row: usize) -> String {
    let mut values: Vec<String> = (0..question.keys).map(|column| text(batch, column, row)).collect();
    let mut column = question.keys;
    let number = |column: usize| text(batch, column, row).replace('.', "").parse::<i128>().unwrap_or(0);
    for aggregate in &question.aggregates {
        let count = |column: usize| u64::try_from(number(column)).unwrap();
        let float = |value: Option<f64>| value.map_or("NULL".to_owned(), |value| format!("{value:?}"));
        values.push(match aggregate.says {
            Says::Same => text(batch, column, row),
            Says::Mean(decimals) => float(mean(number(column), count(column + 1), decimals)),
            Says::Spread(decimals, of, deviation) => {
                float(of(count(column + 2), number(column), number(column + 1), decimals, deviation()))
            }
        });
        column += aggregate.raw.len();
    }
    values.join("|")
}

/// Compares the answers of one world; gives how many rows they had.
async fn agree(seed: u64) -> usize {
    let mut compared = 0;
    let mut dice = Dice(seed);
    let (world, calendar) = world(&mut dice);
    let raw = world.raw();
    let node: Node = world.node();
    for _ in 0..QUESTIONS_PER_WORLD {
        let question = question(&mut dice, &calendar);
        let answer = match node.answer(&question.sql).await {
            Ok(answer) => answer,
            Err(error) => panic!("seed {seed}, {}\n{}\n{error:?}", calendar.grain(), question.sql),
        };
        let frame = raw.sql(&question.raw).await.unwrap();
        let truth = frame.collect().await.unwrap();
        let rows = |batches: &[RecordBatch], line: &dyn Fn(&RecordBatch, usize) -> String| {
            let rows = |batch: &RecordBatch| (0..batch.num_rows()).map(|row| line(batch, row)).collect::<Vec<_>>();
            let mut rows: Vec<String> = batches.iter().flat_map(rows).collect();
            rows.sort();
            rows
        };
        let columns = question.keys + question.aggregates.len();
        let given = rows(&answer.batches, &|batch, row| {
            (0..columns).map(|column| text(batch, column, row)).collect::<Vec<_>>().join("|")
        });
        let true_rows = rows(&truth, &|batch, row| expected(&question, batch, row));
        let (grain, zone) = (calendar.grain(), calendar.zone());
        assert_eq!(given, true_rows, "seed {seed}, {grain} in {zone}\n{}\n{}", question.sql, question.raw);
        compared += given.len();
    }
    compared
}

#[tokio::test]
async fn generated_questions_agree_with_raw_rows() {
    let mut compared = 0;
    for seed in 0..WORLDS {
        compared += agree(seed).await;
    }
    assert!(compared > 5_000, "{compared} rows are no test");
}
