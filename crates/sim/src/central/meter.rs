//! What this process, and where the machine tells it the machine, has used so far.

use std::fs;

/// Ticks of processor time in a second, as Linux tells them to every program whatever its own clock does.
const TICKS_A_SECOND: f64 = 100.0;
/// Where Linux tells what Intel's and AMD's processors have used, in microjoules.
const RAPL: &str = "/sys/class/powercap/intel-rapl:0/energy_uj";

/// A reading of the meters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Processor seconds of this process, all threads.
    pub cpu_s: f64,
    /// Joules of the first processor package; none where it cannot be read.
    pub joules: Option<f64>,
}

impl Reading {
    /// What the meters say now. Processor time is 0 where the system does not tell it (it does on Linux).
    pub fn now() -> Reading {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // the name, in brackets, may hold anything; user and system time are the 12th and 13th fields after it
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let ticks = after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
        let joules = fs::read_to_string(RAPL).ok().and_then(|text| text.trim().parse::<f64>().ok());
        Reading { cpu_s: ticks.sum::<f64>() / TICKS_A_SECOND, joules: joules.map(|microjoules| microjoules / 1e6) }
    }

    /// What was used since an earlier reading. A package's counter that began anew tells nothing.
    pub fn since(self, earlier: Reading) -> Reading {
        let joules = self.joules.zip(earlier.joules).map(|(now, then)| now - then).filter(|used| *used >= 0.0);
        Reading { cpu_s: self.cpu_s - earlier.cpu_s, joules }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_on_the_meter() {
        let begun = Reading::now();
        let mut sum = 0_u64;
        while Reading::now().since(begun).cpu_s < 0.05 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        assert!(Reading::now().cpu_s > begun.cpu_s);
    }
}
