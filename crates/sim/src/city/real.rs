//! Departments that real files drive: their rows are sent on in order, so many an hour.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use civicmesh_model::contract::{Contract, Method};
use civicmesh_model::grain::Grain;

use super::{City, Department, Feed, Kind, PlanError, RealDepartment, Shares};

/// Longest line of a real file, in bytes.
const LINE_BYTES_MAX: usize = 1 << 20;

impl Department {
    /// The department of real files: its contract and lookups are read, its feed is only looked for.
    pub(super) fn real(real: &RealDepartment) -> Result<Department, PlanError> {
        let failed = |file: &Path, reason: String| PlanError::File { file: file.to_owned(), reason };
        let read = |file: &PathBuf| fs::read_to_string(file).map_err(|error| failed(file, error.to_string()));
        let text = read(&real.contract)?;
        let (contract, _) = Contract::parse(&text, &real.contract.display().to_string()).map_err(|findings| {
            let first = findings.first().map(ToString::to_string).unwrap_or_default();
            failed(&real.contract, format!("the contract has errors; the first: {first}"))
        })?;
        let dataset = contract.dataset.as_ref().ok_or_else(|| {
            failed(&real.contract, "the contract has no dataset; say in civicmesh.dataset how files are read".into())
        })?;
        let lookups = real.lookups.iter().map(|file| {
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Ok((name, read(file)?))
        });
        let lookups = lookups.collect::<Result<_, PlanError>>()?;
        if real.rows_per_feed == 0 {
            return Err(failed(&real.contract, "rows_per_feed is 0; send at least one row an hour".to_owned()));
        }
        for file in &real.files {
            fs::metadata(file).map_err(|error| failed(file, error.to_string()))?;
        }
        let measure = contract.measures.first().map(|measure| measure.name.to_string()).unwrap_or_default();
        Ok(Department {
            domain: contract.product.domain.to_string(),
            kind: Kind::Air,
            personal: matches!(contract.method, Method::Threshold { .. }),
            bad_link: false,
            product: contract.product.product.to_string(),
            dataset: dataset.name.to_string(),
            measure,
            contract: text,
            lookups,
            canaries: Vec::new(),
            real: Some(real.clone()),
            end: contract.coverage.end,
            by_month: contract.grain == Grain::Month,
            index: 0,
            letter: 'R',
            districts: 0,
            sites: Vec::new(),
            district_names: Vec::new(),
            sites_by_district: Vec::new(),
            contributors: 0,
            canary_weight: None,
            per_day: 0,
            shares: Shares::default(),
        })
    }

    /// Its feeds, hour by hour, for drawn and real departments alike.
    pub fn feeds<'c>(&'c self, city: &'c City) -> Feeds<'c> {
        let source = match &self.real {
            None => Source::Drawn { city, of: self, hours: 0..city.plan.hours() },
            Some(real) => Source::Real(RealFeeds::new(real)),
        };
        Feeds { source }
    }
}

/// The feeds of one department in order.
pub struct Feeds<'c> {
    source: Source<'c>,
}

enum Source<'c> {
    Drawn { city: &'c City, of: &'c Department, hours: std::ops::Range<u32> },
    Real(RealFeeds),
}

impl Iterator for Feeds<'_> {
    type Item = std::io::Result<Feed>;

    fn next(&mut self) -> Option<std::io::Result<Feed>> {
        match &mut self.source {
            Source::Drawn { city, of, hours } => hours.next().map(|hour| Ok(city.feed(of, hour))),
            Source::Real(feeds) => feeds.next(),
        }
    }
}

/// Real files, cut into feeds. Holds one feed in memory.
pub struct RealFeeds {
    files: std::vec::IntoIter<PathBuf>,
    rows_per_feed: u64,
    open: Option<(BufReader<File>, Vec<u8>)>,
    sent: u64,
}

impl RealFeeds {
    fn new(real: &RealDepartment) -> RealFeeds {
        RealFeeds { files: real.files.clone().into_iter(), rows_per_feed: real.rows_per_feed, open: None, sent: 0 }
    }

    fn read(&mut self) -> std::io::Result<Option<Feed>> {
        loop {
            if self.open.is_none() {
                let Some(file) = self.files.next() else { return Ok(None) };
                let mut reader = BufReader::new(File::open(&file)?);
                let mut header = Vec::new();
                line(&mut reader, &mut header)?;
                self.open = Some((reader, header));
            }
            let Some((reader, header)) = &mut self.open else { continue };
            let mut feed = Feed { csv: header.clone(), ..Feed::default() };
            while feed.rows < self.rows_per_feed && line(reader, &mut feed.csv)? > 0 {
                feed.rows += 1;
            }
            if feed.rows == 0 {
                self.open = None;
                continue;
            }
            feed.name = format!("real-{:05}.csv", self.sent);
            self.sent += 1;
            return Ok(Some(feed));
        }
    }
}

impl Iterator for RealFeeds {
    type Item = std::io::Result<Feed>;

    fn next(&mut self) -> Option<std::io::Result<Feed>> {
        self.read().transpose()
    }
}

/// Reads one line with its end; how many bytes that were.
fn line(reader: &mut impl BufRead, into: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut limited = std::io::Read::take(reader, LINE_BYTES_MAX as u64);
    let read = limited.read_until(b'\n', into)?;
    if read == LINE_BYTES_MAX {
        return Err(std::io::Error::other(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
    }
    Ok(read)
}
