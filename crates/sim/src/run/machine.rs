//! What the machine says of this process.

use std::fs;

/// Ticks of the kernel's clock in a second, as Linux shows them to processes.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor seconds of all threads of this process so far; 0 where the system does not tell.
pub fn cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // the second field is a name that may hold spaces; user and system time are the 14th and 15th
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

/// The most memory that this process held so far, in bytes; 0 where the system does not tell.
pub fn memory_bytes_max() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_machine_tells_time_and_memory() {
        assert!(super::cpu_s() >= 0.0);
        assert!(super::memory_bytes_max() > 1 << 20);
    }
}
