//! What one question, and all of them together, may take.

/// Bounds on questions and answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest SQL text, in bytes.
    pub sql_bytes_max: usize,
    /// Working memory of all questions together, in bytes, the cells they read included. Nothing is spilled to disk.
    pub memory_bytes_max: usize,
    /// Largest answer, in bytes of Arrow memory.
    pub result_bytes_max: usize,
    /// Longest time for one question, in milliseconds.
    pub time_ms_max: u64,
    /// Questions answered at a time; the next is told that the node is busy.
    pub queries_max: usize,
    /// Questions past their time that a thread still thinks about; from then on the node is busy, too.
    pub overdue_max: usize,
    /// Windows of one product that one question may touch.
    pub windows_max: usize,
    /// Partitions that one question is computed in, in parallel; from two on, parts of it run on the runtime's own
    /// stacks.
    pub partitions: usize,
    /// Threads that help questions read, beside their own and all together; the answers do not depend on it.
    pub helpers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sql_bytes_max: 256 << 10,
            memory_bytes_max: 1 << 30,
            result_bytes_max: 64 << 20,
            time_ms_max: 60_000,
            queries_max: 64,
            overdue_max: 4,
            windows_max: 4_000_000,
            partitions: 1,
            helpers: 0,
        }
    }
}
