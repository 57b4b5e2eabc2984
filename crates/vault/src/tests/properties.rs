//! Whatever comes in whatever order, split and batched: the vault holds what a plain list of rows says.

use super::*;
use proptest::prelude::*;

fn rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    let row = (0..30_u8, -3000..9000_i64, 0..3_u8, prop::option::weighted(0.9, -1000..=1000_i64));
    let row = row.prop_map(|(id, minute, borough, cars)| Row { id, minute, borough, cars });
    prop::collection::vec(row, 0..most)
}

/// What may happen to a vault.
#[derive(Debug, Clone)]
enum Step {
    /// A file comes, whole or cut off after some batches.
    File { source: u8, rows: Vec<Row>, step: usize, stops_after: Option<usize> },
    /// The newest file that is left is taken back.
    Undo,
    /// The node is stopped and started.
    Restart,
    /// What is in memory is written to tables.
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let file = (0..3_u8, rows(40), 1..20_usize, prop::option::weighted(0.2, 0..3_usize));
    prop_oneof![
        6 => file.prop_map(|(source, rows, step, stops_after)| Step::File { source, rows, step, stops_after }),
        2 => Just(Step::Undo),
        1 => Just(Step::Restart),
        1 => Just(Step::Flush),
    ]
}

/// A plain list of the files that came, each with its rows.
#[derive(Default)]
struct Plain {
    files: Vec<(u8, u8, Vec<Row>)>,
    next: u8,
}

impl Plain {
    /// The rows that count: where rows have keys, the newest version of each.
    fn live(&self, keyed: bool) -> Vec<(Row, u8)> {
        let mut live: Vec<(Row, u8)> = Vec::new();
        for (_, source, rows) in &self.files {
            for row in rows {
                match live.iter().position(|(known, _)| keyed && known.id == row.id) {
                    Some(place) if live[place].0 == *row => {}
                    Some(place) => live[place] = (*row, *source),
                    None => live.push((*row, *source)),
                }
            }
        }
        live
    }
}

fn run(keyed: bool, steps: Vec<Step>) {
    let place = Place::new();
    let contract = hourly(keyed);
    let mut vault = place.open().unwrap();
    let mut plain = Plain::default();
    for step in steps {
        match step {
            Step::File { source, rows, step, stops_after } => {
                let number = plain.next;
                plain.next += 1;
                let name = format!("source{source}");
                let stored = match stops_after {
                    None => {
                        take(&vault, &contract, &name, file(number), &rows, step).unwrap();
                        rows.len()
                    }
                    Some(batches) => {
                        vault.begin_file(&dataset(), &feed(&name), file(number), "cut.csv", start()).unwrap();
                        let mut done = 0;
                        for part in rows.chunks(step).take(batches) {
                            append(&vault, &contract, file(number), done as u64, part, start()).unwrap();
                            done += part.len();
                        }
                        done
                    }
                };
                plain.files.push((number, source, rows[..stored].to_vec()));
            }
            Step::Undo => {
                if let Some((number, _, _)) = plain.files.pop() {
                    vault.undo(&dataset(), file(number), &|_| false).unwrap();
                }
            }
            Step::Restart => {
                drop(vault);
                vault = place.open().unwrap();
            }
            Step::Flush => vault.flush().unwrap(),
        }
    }
    let (from, until) = span();
    let live = plain.live(keyed);
    let contracts = [&contract, &weekly(keyed)];
    let wanted = contracts.map(|contract| expected(&live, contract, from, until));
    assert_eq!(close(&vault, &contracts, from, until), wanted);
    let entries = vault.files(&dataset()).unwrap();
    assert_eq!(entries.len(), plain.files.len());
    for (entry, (number, _, rows)) in entries.iter().zip(&plain.files) {
        let totals = entry.totals;
        assert_eq!((entry.key, totals.rows), (file(*number), rows.len() as u64));
        assert_eq!(totals.accepted + totals.duplicate + totals.corrected, totals.rows);
        assert_eq!(totals.newest, rows.iter().map(Row::at).max());
        assert_eq!(totals.oldest, rows.iter().map(Row::at).min());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_vault_with_row_keys_holds_what_a_list_holds(steps in prop::collection::vec(step(), 0..12)) {
        run(true, steps);
    }

    #[test]
    fn a_vault_without_row_keys_holds_what_a_list_holds(steps in prop::collection::vec(step(), 0..12)) {
        run(false, steps);
    }

    /// Rows that differ in their keys, in any order, in any files and batches, from one source: the same windows.
    #[test]
    fn order_split_and_batching_change_nothing(
        (one, other) in rows(60)
            .prop_map(|rows| rows.into_iter().enumerate().map(|(id, row)| Row { id: id as u8, ..row }).collect::<Vec<_>>())
            .prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
        cuts in (0..60_usize, 1..60_usize, 1..60_usize),
    ) {
        let contract = hourly(true);
        let (from, until) = span();
        let closed = [one, other].map(|rows| {
            let vault = Place::new().open().unwrap();
            let (first, second) = rows.split_at(cuts.0.min(rows.len()));
            take(&vault, &contract, "north", file(1), first, cuts.1).unwrap();
            take(&vault, &contract, "north", file(2), second, cuts.2).unwrap();
            close(&vault, &[&contract, &weekly(true)], from, until)
        });
        prop_assert_eq!(&closed[0], &closed[1]);
    }
}
