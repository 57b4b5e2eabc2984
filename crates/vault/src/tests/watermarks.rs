//! How far sources have told everything.

use super::*;
use crate::Watermark;
use civicmesh_model::time::Span;

const IDLE: Span = Span::days(1);

fn at(vault: &Vault, now: UtcMicros) -> Option<Watermark> {
    vault.watermark(&dataset(), now, IDLE).unwrap()
}

fn mark(at: UtcMicros) -> Option<Watermark> {
    Some(Watermark { at, completed_through: None })
}

#[test]
fn a_file_moves_its_sources_watermark_at_its_end_alone() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(false);
    assert_eq!(at(&vault, start()), None);
    vault.begin_file(&dataset(), &feed("north"), file(1), "counts.csv", start()).unwrap();
    append(&vault, &contract, file(1), 0, &[row(1, 90, 0, 1), row(1, 30, 0, 1)], start()).unwrap();
    assert_eq!(at(&vault, start()), mark(UtcMicros::MIN));
    vault.finish_file(&dataset(), file(1), time_spec(&contract)).unwrap();
    assert_eq!(at(&vault, start()), mark(row(1, 90, 0, 1).at()));
    // An earlier file does not move it back.
    take(&vault, &contract, "north", file(2), &[row(1, 10, 0, 1)], 1).unwrap();
    assert_eq!(at(&vault, start()), mark(row(1, 90, 0, 1).at()));
}

#[test]
fn the_slowest_source_that_is_not_idle_holds_windows_open() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(false);
    take(&vault, &contract, "north", file(1), &[row(1, 90, 0, 1)], 1).unwrap();
    take(&vault, &contract, "south", file(2), &[row(1, 30, 0, 1)], 1).unwrap();
    assert_eq!(at(&vault, start()), mark(row(1, 30, 0, 1).at()));
    let tomorrow = UtcMicros(start().0 + DAY + 1);
    // Both are idle: nothing is held open, and the furthest counts.
    assert_eq!(at(&vault, tomorrow), mark(row(1, 90, 0, 1).at()));
    vault.begin_file(&dataset(), &feed("south"), file(3), "counts.csv", tomorrow).unwrap();
    assert_eq!(at(&vault, tomorrow), mark(row(1, 30, 0, 1).at()));
    vault.begin_file(&dataset(), &feed("east"), file(4), "counts.csv", tomorrow).unwrap();
    assert_eq!(at(&vault, tomorrow), mark(UtcMicros::MIN));
    // A source that sent a file without a row tells nothing and holds nothing.
    vault.finish_file(&dataset(), file(4), time_spec(&contract)).unwrap();
    assert_eq!(at(&vault, tomorrow), mark(row(1, 30, 0, 1).at()));
}

#[test]
fn a_date_stands_for_its_whole_civil_day() {
    let vault = Place::new().open().unwrap();
    let contract = contract("daily", "1 day", false, "America/New_York", ", format: \"%Y-%m-%d\"");
    assert_eq!(time_spec(&contract).resolution, Span::DAY);
    take(&vault, &contract, "north", file(1), &[row(1, 0, 0, 1)], 1).unwrap();
    // 1 November 2020 has 25 hours in New York.
    let end = UtcMicros(start().0 + 25 * HOUR);
    assert_eq!(at(&vault, start()), mark(end));
    assert_eq!(vault.last_full(&dataset(), file(1)), Ok(Some(end)));
}

#[test]
fn what_an_operator_completed_holds_until_its_file_is_taken_back() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(false);
    let (early, late) = (UtcMicros(start().0 + DAY), UtcMicros(start().0 + 2 * DAY));
    take(&vault, &contract, "north", file(1), &[row(1, 30, 0, 1)], 1).unwrap();
    take(&vault, &contract, "north", file(2), &[row(1, 90, 0, 1)], 1).unwrap();
    vault.complete(&dataset(), file(2), late).unwrap();
    vault.complete(&dataset(), file(1), early).unwrap();
    vault.complete(&dataset(), file(2), early).unwrap();
    let watermark = |minute, completed| Watermark { at: row(1, minute, 0, 1).at(), completed_through: completed };
    assert_eq!(at(&vault, start()), Some(watermark(90, Some(late))));
    vault.undo(&dataset(), file(2), &|_| false).unwrap();
    assert_eq!(at(&vault, start()), Some(watermark(30, Some(early))));
    vault.undo(&dataset(), file(1), &|_| false).unwrap();
    assert_eq!(at(&vault, start()), None);
}

#[test]
fn an_unfinished_file_that_is_taken_back_holds_nothing_open() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(false);
    take(&vault, &contract, "north", file(1), &[row(1, 30, 0, 1)], 1).unwrap();
    vault.begin_file(&dataset(), &feed("south"), file(2), "counts.csv", start()).unwrap();
    append(&vault, &contract, file(2), 0, &[row(1, 90, 0, 1)], start()).unwrap();
    assert_eq!(at(&vault, start()), mark(UtcMicros::MIN));
    vault.undo(&dataset(), file(2), &|_| false).unwrap();
    assert_eq!(at(&vault, start()), mark(row(1, 30, 0, 1).at()));
}

#[test]
fn rows_ahead_of_the_clock_are_kept_and_close_nothing() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(false);
    let rows = [row(1, 30, 0, 1), row(2, 90, 0, 1)];
    vault.begin_file(&dataset(), &feed("north"), file(1), "counts.csv", start()).unwrap();
    let appended = vault.append(Append {
        dataset: &dataset(),
        contract_hash: contract.hash(),
        file: file(1),
        rows_from: 0,
        rows_to: 2,
        observations: observations(&rows, &contract),
        counts: RowCounts::default(),
        now: start(),
        watermark_max: rows[0].at(),
    });
    assert_eq!(appended, Ok(Appended { accepted: 2, ahead: 1, ..Appended::default() }));
    let totals = vault.finish_file(&dataset(), file(1), time_spec(&contract)).unwrap();
    assert_eq!((totals.ahead, totals.newest), (1, Some(rows[0].at())));
    assert_eq!(at(&vault, start()), mark(rows[0].at()));
    let (from, until) = span();
    let all = rows.map(|row| (row, 0));
    assert_eq!(close(&vault, &[&contract], from, until), [expected(&all, &contract, from, until)]);
    // What is told later, by a clock that is right, closes their windows.
    take(&vault, &contract, "north", file(2), &[row(3, 120, 0, 1)], 1).unwrap();
    assert_eq!(at(&vault, start()), mark(row(3, 120, 0, 1).at()));
}
