//! What this process, and where the machine tells it the machine, has used so far.

use std::collections::BTreeMap;
use std::fs;

use crate::run::machine;

/// Where Linux tells what Intel's and AMD's processors have used, in microjoules.
const RAPL: &str = "/sys/class/powercap/intel-rapl:0/energy_uj";
/// Processor seconds below which the process's own time, told in hundredths, is too coarse.
const FINE_S: f64 = 1.0;

/// A reading of the meters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Processor seconds of this process, of all threads that are and were; in hundredths.
    cpu_s: f64,
    /// Nanoseconds on a processor of each thread that is; empty where the system does not tell.
    threads_ns: BTreeMap<String, u64>,
    /// Joules of the first processor package; none where it cannot be read.
    joules: Option<f64>,
}

impl Reading {
    /// What the meters say now. Processor time is 0 where the system does not tell it (it does on Linux).
    pub fn now() -> Reading {
        let joules = fs::read_to_string(RAPL).ok().and_then(|text| text.trim().parse::<f64>().ok());
        Reading {
            cpu_s: machine::cpu_s(),
            threads_ns: threads_ns(),
            joules: joules.map(|microjoules| microjoules / 1e6),
        }
    }

    /// Processor seconds since an earlier reading: of little, what the threads that are say, which is finer but misses
    /// those that ended; of much, what the process says.
    pub fn cpu_s_since(&self, earlier: &Reading) -> f64 {
        let coarse = self.cpu_s - earlier.cpu_s;
        if coarse >= FINE_S || self.threads_ns.is_empty() {
            return coarse;
        }
        let used = |(thread, ns): (&String, &u64)| ns.saturating_sub(*earlier.threads_ns.get(thread).unwrap_or(&0));
        self.threads_ns.iter().map(used).sum::<u64>() as f64 / 1e9
    }

    /// Joules since an earlier reading; none where the machine does not tell. A counter that began anew tells nothing.
    pub fn joules_since(&self, earlier: &Reading) -> Option<f64> {
        self.joules.zip(earlier.joules).map(|(now, then)| now - then).filter(|used| *used >= 0.0)
    }
}

/// The time on a processor of every thread of this process, by its number.
fn threads_ns() -> BTreeMap<String, u64> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let told = threads.filter_map(|thread| {
        let told = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        Some((thread.file_name().to_string_lossy().into_owned(), told.split_whitespace().next()?.parse().ok()?))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_on_the_meter() {
        let begun = Reading::now();
        let mut sum = 0_u64;
        while Reading::now().cpu_s_since(&begun) < 0.05 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        assert!(Reading::now().cpu_s > begun.cpu_s);
    }

    #[test]
    fn little_is_told_by_threads_and_much_by_the_process() {
        let thread = |ns| BTreeMap::from([("1".to_owned(), ns)]);
        let then = Reading { cpu_s: 5.0, threads_ns: thread(1_000_000), joules: Some(9.0) };
        let now = |cpu_s, joules| Reading { cpu_s, threads_ns: thread(5_000_000), joules: Some(joules) };
        assert_eq!(now(5.0, 10.0).cpu_s_since(&then), 0.004);
        assert_eq!(now(7.0, 10.0).cpu_s_since(&then), 2.0, "threads that ended count too");
        assert_eq!((now(5.0, 10.0).joules_since(&then), now(5.0, 1.0).joules_since(&then)), (Some(1.0), None));
    }
}
