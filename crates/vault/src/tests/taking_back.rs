//! Files taken back.

use super::*;
use crate::Undone;

fn never(_: UtcMicros) -> bool {
    false
}

#[test]
fn a_wrong_file_is_gone_as_if_it_had_never_come_and_may_come_again() {
    for keyed in [false, true] {
        let vault = Place::new().open().unwrap();
        let contract = hourly(keyed);
        let (right, wrong) = ([row(1, 5, 0, 10)], [row(2, 8, 0, 99), row(3, 4000, 1, 99), row(2, 9, 0, 98)]);
        take(&vault, &contract, "north", file(1), &right, 9).unwrap();
        take(&vault, &contract, "north", file(2), &wrong, 1).unwrap();
        let before = vault.sequence().unwrap();
        assert_eq!(vault.undo(&dataset(), file(2), &never), Ok(Undone { rows: 3 }));
        assert!(vault.sequence().unwrap() > before);
        let (from, until) = span();
        assert_eq!(close(&vault, &[&contract], from, until), [expected(&[(right[0], 0)], &contract, from, until)]);
        assert_eq!(vault.counts(&dataset()).unwrap().totals.rows, 1);
        take(&vault, &contract, "north", file(2), &wrong, 2).unwrap();
        let mut all = vec![(right[0], 0), (wrong[1], 0), (wrong[2], 0)];
        if !keyed {
            all.push((wrong[0], 0));
        }
        assert_eq!(close(&vault, &[&contract], from, until), [expected(&all, &contract, from, until)]);
    }
}

#[test]
fn a_file_with_a_row_in_a_released_window_stays() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(false);
    let rows = [row(1, 300, 0, 1), row(1, 90, 0, 1), row(1, 200, 0, 1), row(1, 1000, 0, 1)];
    take(&vault, &contract, "north", file(1), &rows, 9).unwrap();
    let sequence = vault.sequence().unwrap();
    for released in rows {
        let undone = vault.undo(&dataset(), file(1), &|t| t == released.at());
        assert_eq!(undone, Err(VaultError::Released));
    }
    assert_eq!(vault.sequence().unwrap(), sequence);
    assert_eq!(vault.undo(&dataset(), file(1), &|t| t > rows[3].at()), Ok(Undone { rows: 4 }));
}

#[test]
fn a_file_that_others_build_on_is_taken_back_after_them() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(true);
    let first = row(1, 5, 0, 10);
    take(&vault, &contract, "north", file(1), &[first, row(2, 6, 0, 5)], 9).unwrap();
    take(&vault, &contract, "north", file(2), &[row(1, 4000, 0, 11)], 9).unwrap();
    take(&vault, &contract, "north", file(3), &[row(1, 5, 0, 12), row(3, 1, 1, 1)], 9).unwrap();
    take(&vault, &contract, "north", file(4), &[row(3, 1, 1, 1)], 9).unwrap();
    let relied = |number| match vault.undo(&dataset(), file(number), &never) {
        Err(VaultError::ReliedOn(files)) => files.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!([relied(1), relied(2), relied(3)], [1, 1, 1]);
    let (from, until) = span();
    let shown = |rows: &[Row]| {
        let sourced: Vec<_> = rows.iter().map(|row| (*row, 0)).collect();
        assert_eq!(close(&vault, &[&contract], from, until), [expected(&sourced, &contract, from, until)]);
    };
    shown(&[row(1, 5, 0, 12), row(2, 6, 0, 5), row(3, 1, 1, 1)]);
    assert_eq!(vault.undo(&dataset(), file(4), &never), Ok(Undone { rows: 0 }));
    vault.undo(&dataset(), file(3), &never).unwrap();
    shown(&[row(1, 4000, 0, 11), row(2, 6, 0, 5)]);
    vault.undo(&dataset(), file(2), &never).unwrap();
    shown(&[first, row(2, 6, 0, 5)]);
    // The row is known as it was first.
    take(&vault, &contract, "north", file(5), &[first], 9).unwrap();
    assert_eq!(vault.files(&dataset()).unwrap()[1].totals.duplicate, 1);
}
