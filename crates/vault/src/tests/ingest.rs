//! Files: resumed, repeated, grown, corrected.

use super::*;
use crate::{FileProgress, FileTotals};

#[test]
fn a_file_counts_once_however_often_it_comes() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(false);
    let rows = [row(1, 5, 0, 10), row(2, 65, 1, 20), row(3, 3000, 0, 30)];
    for _ in 0..2 {
        take(&vault, &contract, "north", file(1), &rows, 2).unwrap();
    }
    let (from, until) = span();
    let sourced = rows.map(|row| (row, 0));
    assert_eq!(close(&vault, &[&contract], from, until), [expected(&sourced, &contract, from, until)]);
    let files = vault.files(&dataset()).unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!((files[0].name.as_str(), files[0].finished), ("counts.csv", true));
    let totals = FileTotals {
        rows: 3,
        accepted: 3,
        oldest: Some(rows[0].at()),
        newest: Some(rows[2].at()),
        ..FileTotals::default()
    };
    assert_eq!(files[0].totals, totals);
    assert_eq!(vault.counts(&dataset()).unwrap().totals, totals);
}

#[test]
fn a_file_is_resumed_where_it_stands_whatever_the_batch() {
    let place = Place::new();
    let contract = hourly(false);
    let rows: Vec<Row> = (0..10).map(|minute| row(0, minute * 50, 0, minute)).collect();
    {
        let vault = place.open().unwrap();
        vault.begin_file(&dataset(), &feed("north"), file(1), "counts.csv", start()).unwrap();
        append(&vault, &contract, file(1), 0, &rows[..7], start()).unwrap();
    }
    let vault = place.open().unwrap();
    let begun = vault.begin_file(&dataset(), &feed("north"), file(1), "counts.csv", start()).unwrap();
    assert_eq!(begun, FileProgress { rows_done: 7, finished: false });
    let retried = append(&vault, &contract, file(1), 3, &rows[3..7], start()).unwrap();
    assert_eq!(retried, Appended { retried: true, ..Appended::default() });
    let offset = |from, to| VaultError::Offset { stored: 7, from, to };
    assert_eq!(append(&vault, &contract, file(1), 6, &rows[6..8], start()), Err(offset(6, 8)));
    assert_eq!(append(&vault, &contract, file(1), 8, &rows[8..], start()), Err(offset(8, 10)));
    append(&vault, &contract, file(1), 7, &rows[7..], start()).unwrap();
    vault.finish_file(&dataset(), file(1), time_spec(&contract)).unwrap();
    let more = append(&vault, &contract, file(1), 10, &rows[..1], start());
    assert_eq!(more, Err(VaultError::Finished));
    let (from, until) = span();
    let sourced: Vec<_> = rows.iter().map(|row| (*row, 0)).collect();
    assert_eq!(close(&vault, &[&contract], from, until), [expected(&sourced, &contract, from, until)]);
}

#[test]
fn every_row_of_a_stretch_is_accounted_for() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(false);
    vault.begin_file(&dataset(), &feed("north"), file(1), "counts.csv", start()).unwrap();
    let stretch = |counts| {
        vault.append(Append {
            dataset: &dataset(),
            contract_hash: contract.hash(),
            file: file(1),
            rows_from: 0,
            rows_to: 6,
            observations: observations(&[row(1, 0, 0, 1)], &contract),
            counts,
            now: start(),
            watermark_max: UtcMicros::MAX,
        })
    };
    let short = stretch(RowCounts { filtered: 2, rejected: 2 });
    assert_eq!(short, Err(VaultError::Unaccounted { rows: 6, told: 5 }));
    stretch(RowCounts { filtered: 2, rejected: 3 }).unwrap();
    let totals = vault.finish_file(&dataset(), file(1), time_spec(&contract)).unwrap();
    assert_eq!((totals.rows, totals.accepted, totals.filtered, totals.rejected), (6, 1, 2, 3));
}

#[test]
fn the_same_file_under_another_source_is_refused() {
    let vault = Place::new().open().unwrap();
    vault.begin_file(&dataset(), &feed("north"), file(1), "counts.csv", start()).unwrap();
    let other = vault.begin_file(&dataset(), &feed("south"), file(1), "counts.csv", start());
    assert_eq!(other, Err(VaultError::OtherSource(feed("north"))));
}

#[test]
fn a_grown_file_adds_only_its_new_rows_and_its_corrections() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(true);
    let first = [row(1, 5, 0, 10), row(2, 65, 1, 20), row(3, 3000, 0, 30)];
    // row 2 is corrected within its day, row 3 moves to another day, row 4 is new
    let grown = [first[0], row(2, 65, 1, 25), row(3, 100, 0, 30), row(4, 7, 0, 1), row(4, 7, 0, 1)];
    take(&vault, &contract, "north", file(1), &first, 2).unwrap();
    take(&vault, &contract, "north", file(2), &grown, 10).unwrap();
    let totals = vault.files(&dataset()).unwrap()[1].totals;
    assert_eq!((totals.rows, totals.accepted, totals.duplicate, totals.corrected), (5, 1, 2, 2));
    let (from, until) = span();
    let sourced: Vec<_> = grown[..4].iter().map(|row| (*row, 0)).collect();
    let contracts = [&contract, &weekly(true)];
    let wanted = contracts.map(|contract| expected(&sourced, contract, from, until));
    assert_eq!(close(&vault, &contracts, from, until), wanted);
}

#[test]
fn a_corrected_row_moves_a_window_from_one_source_to_another() {
    let vault = Place::new().open().unwrap();
    let contract = hourly(true);
    take(&vault, &contract, "north", file(1), &[row(1, 5, 0, 10), row(2, 6, 0, 1)], 9).unwrap();
    take(&vault, &contract, "south", file(2), &[row(1, 5, 0, 11)], 9).unwrap();
    let (from, until) = span();
    let sourced = [(row(2, 6, 0, 1), 0), (row(1, 5, 0, 11), 1)];
    assert_eq!(close(&vault, &[&contract], from, until), [expected(&sourced, &contract, from, until)]);
    take(&vault, &contract, "south", file(3), &[row(2, 6, 0, 2)], 9).unwrap();
    let sourced = [(row(2, 6, 0, 2), 1), (row(1, 5, 0, 11), 1)];
    assert_eq!(close(&vault, &[&contract], from, until), [expected(&sourced, &contract, from, until)]);
}

#[test]
fn a_vault_belongs_to_one_zone() {
    let place = Place::new();
    drop(place.open().unwrap());
    let given: Zone = "Europe/Copenhagen".parse().unwrap();
    let options =
        Options { environment: Environment::Memory(place.disk.clone()), ..Options::new(given, VaultId([1; 16])) };
    let error = Vault::open(Path::new("unused"), &options).unwrap_err();
    assert_eq!(error, VaultError::Zone { stored: zone(), given });
}

#[test]
fn a_vault_keeps_the_id_that_it_was_made_with_until_it_is_called_otherwise() {
    let place = Place::new();
    let open = |fresh| {
        let options = Options {
            environment: Environment::Memory(place.disk.clone()),
            ..Options::new(zone(), VaultId([fresh; 16]))
        };
        Vault::open(Path::new("unused"), &options).unwrap()
    };
    assert_eq!(open(1).id(), Ok(VaultId([1; 16])));
    let vault = open(2);
    assert_eq!(vault.id(), Ok(VaultId([1; 16])));
    vault.rename(VaultId([3; 16])).unwrap();
    drop(vault);
    assert_eq!(open(4).id(), Ok(VaultId([3; 16])));
    // One from before vaults had ids gets one.
    let vault = open(5);
    let mut batch = vault.store.batch();
    batch.delete(keys::meta::KEYSPACE, b"id");
    vault.store.commit(batch).unwrap();
    drop(vault);
    assert_eq!(open(6).id(), Ok(VaultId([6; 16])));
}

#[test]
fn what_is_not_known_is_empty_or_named() {
    let vault = Place::new().open().unwrap();
    let (from, until) = span();
    assert_eq!(close(&vault, &[&hourly(false)], from, until), [expected(&[], &hourly(false), from, until)]);
    assert_eq!(vault.files(&dataset()), Ok(vec![]));
    assert_eq!(vault.sequence(), Ok(0));
    assert_eq!(vault.last_full(&dataset(), file(1)), Err(VaultError::UnknownDataset(dataset())));
    vault.begin_file(&dataset(), &feed("north"), file(1), "counts.csv", start()).unwrap();
    let unknown = VaultError::UnknownFile { dataset: dataset(), file: file(2) };
    assert_eq!(vault.last_full(&dataset(), file(2)), Err(unknown));
}
