//! Runs the city one way and measures what it costs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use civicmesh_node::client::{ClientError, QueryAnswer};
use tokio::time::{Instant, sleep};

use crate::city::{City, Department};

use super::arm::{Arm, Way};
use super::costs::{Asked, Costs, Still, Used};
use super::files::Files;
use super::meter::Reading;
use super::plan::Terms;
use crate::report::LinkFigures;

/// How long nodes that were started are left alone before they are watched.
const SETTLE: Duration = Duration::from_secs(2);
/// How often the city is watched while it rests, the least of which counts.
const LOOKS: usize = 3;
/// Part of the time for which the city is watched while it rests, for which it is watched while nodes ask each other.
const TURNS_PART: f64 = 0.25;
/// How long no byte crosses the network once all links are made: longer than who failed waits to try again.
const QUIET: Duration = Duration::from_millis(700);
/// Longest wait for that.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// Questions that are asked at the most at one rate and mix; more are reckoned from these.
pub(super) const QUESTIONS_MAX: u64 = 200;
/// Questions at the most of which it is reckoned what they touch.
const TOUCHED_MAX: u64 = 100_000;

/// How a node says that every cell which a question touches is suppressed.
const ALL_SUPPRESSED: &str = "ERROR_CODE_ALL_SUPPRESSED";

/// How much of a city is measured.
#[derive(Clone, Copy, Debug)]
pub(super) enum Depth {
    /// Everything, questions at every rate and of every mix too.
    Whole,
    /// What goes on anyway, and questions as the scenario has them.
    Still,
    /// The same, but for what goes on anyway, which was measured elsewhere.
    Known(Still),
}

impl Costs {
    /// Runs the city one way and measures. The files are as they are for both ways.
    pub(super) async fn measure(
        way: Way,
        city: &City,
        files: &Files,
        terms: &Terms,
        depth: Depth,
        folder: &Path,
        news: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Costs> {
        let mut say = |what: &str| {
            if matches!(depth, Depth::Whole) {
                news(&format!("  {way:?}: {what}"));
            }
        };
        say(&format!("{} rows in {} files", files.rows, files.of.iter().map(Vec::len).sum::<usize>()));
        let mut arm = Arm::start(way, city, folder).await?;
        arm.linked().await?;
        let begun = Meter::start(&arm);
        feed(&mut arm, city, files).await?;
        arm.stop().await;
        let feeding = begun.used(&arm);
        let links = arm.town.wires.bytes().into_iter();
        let links = links.map(|((from, to), bytes)| LinkFigures { from, to, bytes }).collect();
        let days = files.of.iter().map(Vec::len).max().unwrap_or(0) as f64 / 24.0;
        let many = city.departments.len() as u64;
        let machines = if way == Way::Cluster { many } else { 1 };

        say("what goes on while nothing happens");
        let watch = match depth {
            Depth::Known(_) => None,
            Depth::Whole | Depth::Still => Some(Duration::from_secs_f64(terms.watch_s)),
        };
        let (link, rest) = apart_and_at_rest(&mut arm, watch).await?;
        say("questions");
        arm.connect().await?;
        let wanted = |per_day: f64| ((per_day * days * many as f64).ceil() as u64).max(many);
        let base = (terms.questions_per_day, terms.whole_city);
        let asked = ask(&mut arm, city, base, wanted(base.0)).await?;
        let (mut by_questions, mut by_mix) = (Vec::new(), Vec::new());
        if matches!(depth, Depth::Whole) {
            for per_day in &terms.questions {
                by_questions.push(ask(&mut arm, city, (*per_day, base.1), wanted(*per_day)).await?);
            }
            for mix in &terms.mixes {
                by_mix.push(ask(&mut arm, city, (base.0, *mix), wanted(base.0)).await?);
            }
        }
        arm.stop().await;
        let still = match (depth, watch) {
            (Depth::Known(still), _) => still,
            (_, watch) => {
                let all = rest.times(1.0 / rest.wall_s);
                let turn = turn(&mut arm, all, watch.unwrap_or_default().mul_f64(TURNS_PART)).await?;
                Still { link, turn, rest: all.times(1.0 / machines as f64) }
            }
        };
        let turns = arm.pairs() as f64 * feeding.wall_s / arm.turn_s();
        let (vault_bytes, ledger_bytes) = arm.town.stored()?;
        arm.end().await?;
        Ok(Costs {
            way,
            departments: many,
            machines,
            days,
            rows: files.rows,
            personal_rows_outside: if way == Way::Central { files.personal_rows } else { 0 },
            raw_bytes: files.bytes,
            raw_packed_bytes: files.packed_bytes,
            feeding: feeding
                .without(still.turn.times(turns))
                .without(still.rest.times(machines as f64 * feeding.wall_s)),
            links,
            still,
            asked,
            by_questions,
            by_mix,
            vault_bytes,
            ledger_bytes,
            held: if way == Way::Cluster { many * many } else { many },
        })
    }
}

/// Starts the city with all links cut and mends them: what one link costs, and what all machines then use while they rest
/// for as long as they are watched.
async fn apart_and_at_rest(arm: &mut Arm<'_>, watch: Option<Duration>) -> anyhow::Result<(Used, Used)> {
    arm.start_apart().await?;
    sleep(SETTLE).await;
    let begun = Meter::start(arm);
    arm.town.wires.mend();
    if arm.pairs() > 0 {
        let mut last = arm.town.wires.bytes_all();
        loop {
            sleep(QUIET).await;
            let now = arm.town.wires.bytes_all();
            if now == last && now > begun.bytes {
                break;
            }
            last = now;
            anyhow::ensure!(begun.at.elapsed() < QUIET_MAX, "the links of the city do not come to rest");
        }
    }
    let used = begun.used(arm);
    let link = if arm.pairs() == 0 { Used::default() } else { used.times(1.0 / arm.pairs() as f64) };
    let Some(watch) = watch else { return Ok((link, Used::default())) };
    let mut rest: Option<Used> = None;
    for _ in 0..LOOKS {
        let begun = Meter::start(arm);
        sleep(watch).await;
        let used = begun.used(arm);
        // what is still at work from before is no rest
        rest = rest.filter(|least| least.cpu_s <= used.cpu_s).or(Some(used));
    }
    Ok((link, rest.unwrap_or_default()))
}

/// What one turn of a node at one peer costs; `rest` is what all machines use in a second anyway.
async fn turn(arm: &mut Arm<'_>, rest: Used, watch: Duration) -> anyhow::Result<Used> {
    if arm.pairs() == 0 {
        return Ok(Used::default());
    }
    arm.start_replay().await?;
    arm.connect().await?;
    arm.linked().await?;
    sleep(SETTLE).await;
    let begun = Meter::start(arm);
    sleep(watch).await;
    let used = begun.used(arm);
    arm.stop().await;
    let turns = arm.pairs() as f64 * used.wall_s / arm.turn_s();
    Ok(used.without(rest.times(used.wall_s)).times(1.0 / turns))
}

/// All meters at one moment.
struct Meter {
    reading: Reading,
    bytes: u64,
    at: Instant,
}

impl Meter {
    fn start(arm: &Arm<'_>) -> Meter {
        Meter { reading: Reading::now(), bytes: arm.town.wires.bytes_all(), at: Instant::now() }
    }

    fn used(self, arm: &Arm<'_>) -> Used {
        let now = Reading::now();
        Used {
            cpu_s: now.cpu_s_since(&self.reading),
            bytes: (arm.town.wires.bytes_all() - self.bytes) as f64,
            wall_s: self.at.elapsed().as_secs_f64(),
            joules: now.joules_since(&self.reading),
        }
    }
}

/// Sends everything hour by hour, in each of which every node asks every peer, and waits until it is everywhere.
pub(super) async fn feed(arm: &mut Arm<'_>, city: &City, files: &Files) -> anyhow::Result<()> {
    let hours = files.of.iter().map(Vec::len).max().unwrap_or(0);
    for hour in 0..hours {
        for (of, own) in city.departments.iter().zip(&files.of) {
            let Some(file) = own.get(hour) else { continue };
            let sent = arm.send(of, file, hour + 1 == own.len()).await?;
            anyhow::ensure!(sent, "{} could not send {}, though nothing is broken", of.domain, file.display());
        }
        arm.turn().await;
    }
    let mut closed = BTreeMap::new();
    for of in &city.departments {
        let known =
            arm.knows(&of.domain).await.with_context(|| format!("the node of {} does not answer", of.domain))?;
        closed.insert(of.domain.clone(), known.get(&of.domain).copied().flatten());
    }
    let domains = || city.departments.iter().map(|of| of.domain.clone());
    let pairs: Vec<(String, String)> =
        domains().flat_map(|one| domains().map(move |other| (one.clone(), other))).collect();
    arm.converge(&pairs, &closed).await
}

/// The question of this number among those of `many` departments, of which this share is over two products: who asks, and
/// whose product it sets beside its own.
fn whom(number: u64, many: u64, mix: f64) -> (usize, Option<usize>) {
    let (of, round) = (number % many, number / many);
    // departments do not all begin with the same kind
    let begun = of as f64 / many as f64;
    let before = |rounds: u64| (rounds as f64).mul_add(mix, begun).floor() as u64;
    let (done, after) = (before(round), before(round + 1));
    let other = (after > done && many > 1).then(|| (of + 1 + done % (many - 1)) % many);
    (of as usize, other.map(|other| other as usize))
}

/// Asks `wanted` questions or the most that are asked, in turn of each department.
async fn ask(arm: &mut Arm<'_>, city: &City, (per_day, whole_city): (f64, f64), wanted: u64) -> anyhow::Result<Asked> {
    let many = city.departments.len() as u64;
    let touched: BTreeSet<(usize, usize)> = (0..wanted.min(TOUCHED_MAX))
        .flat_map(|number| {
            let (of, other) = whom(number, many, whole_city);
            let at = if arm.way == Way::Cluster { of } else { 0 };
            std::iter::once(of).chain(other).map(move |product| (at, product))
        })
        .collect();
    let questions = wanted.min(QUESTIONS_MAX.max(many));
    let held_used = touched.len() as u64;
    let mut asked = Asked { per_day, whole_city, questions, held_used, ..Asked::default() };
    let meter = Meter::start(arm);
    for number in 0..questions {
        let (of, other) = whom(number, many, whole_city);
        let (of, other) = (&city.departments[of], other.map(|other| &city.departments[other]));
        let sql = question(arm, of, other);
        let begun = Instant::now();
        answered(arm.ask(&of.domain, &sql).await).with_context(|| format!("{} asked: {sql}", of.domain))?;
        let took = begun.elapsed().as_micros() as u64;
        if other.is_some() { &mut asked.whole_us } else { &mut asked.own_us }.push(took);
    }
    asked.used = meter.used(arm);
    asked.own_us.sort_unstable();
    asked.whole_us.sort_unstable();
    Ok(asked)
}

/// The mean of a product by day; beside that of another. By month where windows of either are months.
pub(super) fn question(arm: &Arm<'_>, of: &Department, other: Option<&Department>) -> String {
    let span = if of.by_month || other.is_some_and(|other| other.by_month) { "month" } else { "day" };
    let means = |of: &Department| {
        let (measure, table) = (&of.measure, arm.table(of));
        format!(
            "SELECT date_trunc('{span}', time) AS {span}, count(*) AS n, avg({measure}) AS mean FROM {table} GROUP BY 1"
        )
    };
    match other {
        None => format!("{} ORDER BY 1", means(of)),
        Some(other) => format!(
            "SELECT a.{span}, a.mean AS one, b.mean AS other FROM ({}) AS a JOIN ({}) AS b USING ({span}) ORDER BY {span}",
            means(of),
            means(other)
        ),
    }
}

/// That everything is suppressed is an answer too.
pub(super) fn answered(answer: Result<QueryAnswer, ClientError>) -> Result<(), ClientError> {
    match answer {
        Err(ClientError::Refused { code, .. }) if code == ALL_SUPPRESSED => Ok(()),
        answer => answer.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_mixed_as_the_scenario_says_and_come_to_everybody() {
        for (mix, many) in [(0.0, 5), (0.25, 5), (0.5, 4), (1.0, 3), (1.0, 1)] {
            let all: Vec<_> = (0..400 * many).map(|number| whom(number, many, mix)).collect();
            let whole = all.iter().filter(|(_, other)| other.is_some()).count();
            let expected = if many > 1 { (400 * many) as f64 * mix } else { 0.0 };
            assert!((whole as f64 - expected).abs() <= many as f64, "{mix} of {many}: {whole}");
            assert!(all.iter().all(|(of, other)| *other != Some(*of)), "nobody is set beside itself");
            let others: BTreeSet<_> = all.iter().filter_map(|(of, other)| Some((of, (*other)?))).collect();
            let pairs = if mix > 0.0 { many * (many - 1) } else { 0 };
            assert_eq!(others.len() as u64, pairs);
        }
    }
}
