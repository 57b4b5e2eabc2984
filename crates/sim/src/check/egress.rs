//! Egress: beyond what contracts publish, no byte of an observation appears on a link between nodes or in a log.
//!
//! The city plants canaries in its raw rows: texts and numbers that are nothing else by chance. They are searched in
//! every byte that one node writes to another, before TLS (nothing on these links is compressed), and in every line that
//! a node logs, as text and in each numeric encoding in use.

use std::collections::BTreeMap;

use crate::city::{Canary, CanaryThing, City, Department};

/// The least length of an encoding: shorter ones are found by chance.
const NEEDLE_BYTES_MIN: usize = 5;

/// Whether a canary is what its product publishes, by the contract's own rules: a cell that one row is alone in, with
/// people enough behind it, has that row's number as its sum.
pub fn is_published(city: &City, of: &Department, canary: &Canary) -> bool {
    let CanaryThing::Number { scaled, .. } = canary.thing else { return false };
    let (hours, grain) = (city.plan.hours(), of.grain_hours());
    (0..hours).step_by(grain as usize).any(|from| {
        let truth = city.truth(of, from, (from + grain).min(hours), hours - 1, true);
        truth.published(of.kind.threshold()).any(|(_, cell)| cell.weight == i128::from(scaled))
    })
}

/// A canary in words, without its value.
pub fn said(canary: &Canary) -> String {
    format!("the {} of {}", canary.place, canary.domain)
}

/// What is searched for.
#[derive(Default)]
pub struct Needles {
    /// Whether an encoding begins with these two bytes.
    begins: Vec<bool>,
    /// By the first bytes, each with the canary's words.
    by_start: BTreeMap<[u8; NEEDLE_BYTES_MIN], Vec<(Vec<u8>, String)>>,
    longest: usize,
}

impl Needles {
    /// Every encoding of every canary.
    pub fn of<'c>(canaries: impl IntoIterator<Item = &'c Canary>) -> Needles {
        let mut needles = Needles { begins: vec![false; 1 << 16], ..Needles::default() };
        for canary in canaries {
            let said = said(canary);
            for encoding in canary.encodings() {
                let Some(start) = encoding.first_chunk::<NEEDLE_BYTES_MIN>() else { continue };
                needles.begins[usize::from(u16::from_le_bytes([start[0], start[1]]))] = true;
                needles.longest = needles.longest.max(encoding.len());
                needles.by_start.entry(*start).or_default().push((encoding, said.clone()));
            }
        }
        needles
    }

    /// The canaries that begin within `bytes` and end there too.
    fn found_in<'n>(&'n self, bytes: &'n [u8]) -> impl Iterator<Item = &'n str> {
        let starts = bytes.windows(NEEDLE_BYTES_MIN).enumerate().filter(|(_, start)| {
            self.begins.get(usize::from(u16::from_le_bytes([start[0], start[1]]))).copied().unwrap_or(false)
        });
        starts.flat_map(move |(at, start)| {
            let start: [u8; NEEDLE_BYTES_MIN] = start.try_into().expect("a window of that length");
            let of_start = self.by_start.get(&start).into_iter().flatten();
            of_start.filter(move |(needle, _)| bytes[at..].starts_with(needle)).map(|(_, said)| said.as_str())
        })
    }
}

/// A search in one stream of bytes, which comes in pieces.
#[derive(Default)]
pub struct Search {
    /// The end of what came before, which a canary may begin in.
    tail: Vec<u8>,
}

impl Search {
    /// The canaries that end in this piece.
    pub fn feed(&mut self, needles: &Needles, bytes: &[u8]) -> Vec<String> {
        if needles.longest == 0 {
            return Vec::new();
        }
        self.tail.extend_from_slice(bytes);
        let found = needles.found_in(&self.tail).map(str::to_owned).collect();
        let keep = self.tail.len().min(needles.longest - 1);
        self.tail.drain(..self.tail.len() - keep);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::city::CanaryThing;

    fn canaries() -> Vec<Canary> {
        let canary = |thing| Canary { domain: "traffic".to_owned(), place: "plate".to_owned(), thing };
        vec![
            canary(CanaryThing::Text("CANARY-7Q".to_owned())),
            canary(CanaryThing::Number { scaled: 987_654_321_012, decimals: 1 }),
        ]
    }

    #[test]
    fn a_canary_is_found_in_every_encoding_however_it_is_cut() {
        let canaries = canaries();
        let needles = Needles::of(&canaries);
        for encoding in canaries.iter().flat_map(Canary::encodings) {
            for cut in 0..=encoding.len() {
                let mut search = Search::default();
                let mut found = search.feed(&needles, &[b"before".as_slice(), &encoding[..cut]].concat());
                found.extend(search.feed(&needles, &[&encoding[cut..], b"after".as_slice()].concat()));
                assert!(!found.is_empty(), "{encoding:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_canary_is_not_found() {
        let mut search = Search::default();
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        assert!(search.feed(&Needles::of(&canaries()), &bytes).is_empty());
    }
}
