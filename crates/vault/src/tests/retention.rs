//! Raw observations past their retention.

use super::*;
use civicmesh_model::time::Span;

#[test]
fn a_day_goes_when_it_and_its_last_arrival_are_past_their_retention() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(true);
    let rows = [row(1, 5, 0, 1), row(2, 1600, 0, 1)];
    let (first, second) = (start(), UtcMicros(start().0 + 100 * DAY));
    vault.begin_file(&dataset(), &feed("north"), file(1), "counts.csv", first).unwrap();
    append(&vault, &contract, file(1), 0, &rows, first).unwrap();
    append(&vault, &contract, file(1), 2, &[row(3, 1601, 0, 1)], second).unwrap();
    let day = |days: i64| UtcMicros(start().0 + days * DAY);
    // The first day is not over, then it is; the second day had an arrival since.
    assert_eq!(vault.expire(&dataset(), day(1)), Ok(0));
    assert_eq!(vault.expire(&dataset(), day(50)), Ok(1));
    assert_eq!(vault.expire(&dataset(), day(50)), Ok(0));
    assert_eq!(vault.expire(&dataset(), day(100)), Ok(0));
    let (_, until) = span();
    let left = [(rows[1], 0), (row(3, 1601, 0, 1), 0)];
    let from = UtcMicros(start().0 + 25 * HOUR);
    assert_eq!(close(&vault, &[&contract], from, until), [expected(&left, &contract, from, until)]);
    assert_eq!(vault.expire(&dataset(), day(101)), Ok(2));
    assert_eq!(vault.counts(&dataset()).unwrap().dropped, 3);
    assert_eq!(vault.dirty(&dataset()).unwrap(), []);
}

#[test]
fn a_window_whose_observations_are_gone_is_not_taken_for_empty() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(false);
    take(&vault, &contract, "north", file(1), &[row(1, 5, 0, 1), row(2, 1600, 0, 1)], 9).unwrap();
    vault.expire(&dataset(), UtcMicros(start().0 + DAY + HOUR)).unwrap();
    let windows: Vec<Window> = contract.calendar(zone()).windows(start(), UtcMicros(start().0 + 40 * HOUR)).collect();
    let close = |windows: &[Window]| {
        let due = [Due { contract: &contract, windows: windows.to_vec() }];
        vault.close(&dataset(), &due, Limits::default()).map(|closing| closing.windows[0].len())
    };
    assert_eq!(close(&windows), Err(VaultError::Expired(windows[0])));
    assert_eq!(close(&windows[24..]), Err(VaultError::Expired(windows[24])));
    assert_eq!(close(&windows[25..]), Ok(15));
}

#[test]
fn rows_for_a_day_that_is_gone_are_counted_and_not_kept() {
    let vault = Place::new().open().unwrap();
    for keyed in [false, true] {
        let contract = hourly(keyed);
        take(&vault, &contract, "north", file(u8::from(keyed)), &[row(1, 5, 0, 1)], 9).unwrap();
    }
    let contract = hourly(true);
    assert_eq!(vault.expire(&dataset(), UtcMicros(start().0 + 2 * DAY)), Ok(2));
    vault.begin_file(&dataset(), &feed("north"), file(7), "counts.csv", start()).unwrap();
    let appended = append(&vault, &contract, file(7), 0, &[row(1, 5, 0, 1), row(2, 1600, 0, 1)], start()).unwrap();
    assert_eq!(appended, Appended { accepted: 1, expired: 1, ..Appended::default() });
}

#[test]
fn a_correction_outlives_the_day_that_it_left() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(true);
    take(&vault, &contract, "north", file(1), &[row(1, 5, 0, 1), row(2, 6, 0, 1)], 9).unwrap();
    take(&vault, &contract, "north", file(2), &[row(1, 1600, 0, 2)], 9).unwrap();
    assert_eq!(vault.expire(&dataset(), UtcMicros(start().0 + DAY + HOUR)), Ok(2));
    take(&vault, &contract, "north", file(3), &[row(1, 1600, 0, 2)], 9).unwrap();
    assert_eq!(vault.files(&dataset()).unwrap()[2].totals.duplicate, 1);
    // Taken back, the correction leaves nothing: the version before it is past its retention.
    vault.undo(&dataset(), file(3), &|_| false).unwrap();
    vault.undo(&dataset(), file(2), &|_| false).unwrap();
    let (from, until) = (UtcMicros(start().0 + 25 * HOUR), span().1);
    assert_eq!(close(&vault, &[&contract], from, until), [expected(&[], &contract, from, until)]);
}

#[test]
fn how_long_rows_are_kept_outlives_what_said_so() {
    let place = Place::new();
    place.open().unwrap().retain(&dataset(), Span::days(90)).unwrap();
    place.open().unwrap().retain(&dataset(), Span::days(30)).unwrap();
    assert_eq!(place.open().unwrap().retained(), Ok(vec![(dataset(), Span::days(30))]));
}
