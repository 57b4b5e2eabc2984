//! Bounds: no node takes more places, tasks or memory than it says, however long it runs and whatever breaks.

use civicmesh_node::door::Places;

/// Tasks that a node runs besides its servers, whatever the city's size: publishers, upkeep, the puller, ingests.
const TASKS_MAX: usize = 64;

/// What is wrong with the places of a node; nothing, if all is well.
pub fn check(places: Places) -> Option<String> {
    let Places { ingests, ingests_max, tasks } = places;
    if ingests > ingests_max {
        return Some(format!("{ingests} files are being taken in, of at most {ingests_max}"));
    }
    (tasks > TASKS_MAX).then(|| format!("{tasks} tasks run, of at most {TASKS_MAX}"))
}

/// Whether the memory of the run is above what the scenario allows.
pub fn memory(held_bytes: u64, bytes_max: u64) -> Option<String> {
    (bytes_max > 0 && held_bytes > bytes_max)
        .then(|| format!("the process held {held_bytes} bytes, of at most {bytes_max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_its_bound_is_found() {
        let places = Places { ingests: 1, ingests_max: 2, tasks: 9 };
        assert_eq!(check(places), None);
        assert!(check(Places { ingests: 3, ..places }).is_some());
        assert!(check(Places { tasks: 65, ..places }).is_some());
        assert_eq!(memory(100, 0), None);
        assert!(memory(101, 100).is_some());
    }
}
