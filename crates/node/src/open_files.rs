//! How many files the process may hold open.

use std::io;

/// Raises the soft limit on open files to the hard one, and says what it is now. Two databases, their logs and a
/// thousand connections are more than the thousand files that many systems allow at first; a database that cannot open
/// its next log takes no more writes.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = rlimit::Resource::NOFILE.get()?;
    if soft < hard {
        rlimit::Resource::NOFILE.set(hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let hard = raise_open_files().unwrap();
        assert_eq!(rlimit::Resource::NOFILE.get().unwrap(), (hard, hard));
    }
}
