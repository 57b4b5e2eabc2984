//! Which partition an instant belongs to: the civil day in the city's zone.

use crate::keys::Partition;
use chrono::{Datelike, NaiveDate};
use civicmesh_model::grain::{Calendar, Grain, Window};
use civicmesh_model::time::{UtcMicros, Zone};

/// The civil days of a city.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Days {
    calendar: Calendar,
}

impl Days {
    pub(crate) fn new(zone: Zone) -> Self {
        Self { calendar: Calendar::new(zone, Grain::Day) }
    }

    fn zone(&self) -> Zone {
        self.calendar.zone()
    }

    /// The partition that holds `t`.
    pub(crate) fn of(&self, t: UtcMicros) -> Partition {
        self.of_window(self.calendar.window_of(t))
    }

    fn of_window(&self, day: Window) -> Partition {
        Partition(self.zone().to_local(day.start).date().num_days_from_ce())
    }

    /// From when to when a partition lasts.
    pub(crate) fn window(&self, partition: Partition) -> Window {
        let day = NaiveDate::from_num_days_from_ce_opt(partition.0).unwrap_or(NaiveDate::MAX);
        self.calendar.window_of(self.zone().start_of_day(day))
    }

    /// The partitions of `times`, in their order. Asks the calendar once a day, not once a row.
    pub(crate) fn of_all(&self, times: &[i64]) -> Vec<Partition> {
        let mut known: Vec<(Window, Partition)> = Vec::new();
        let mut last: Option<(Window, Partition)> = None;
        times
            .iter()
            .map(|&time| {
                let t = UtcMicros(time);
                if let Some((day, partition)) = last
                    && day.contains(t)
                {
                    return partition;
                }
                let place = known.partition_point(|(day, _)| day.end <= t);
                let found = match known.get(place) {
                    Some(found) if found.0.contains(t) => *found,
                    _ => {
                        let day = self.calendar.window_of(t);
                        known.insert(place, (day, self.of_window(day)));
                        known[place]
                    }
                };
                last = Some(found);
                found.1
            })
            .collect()
    }

    /// The first and the last partition that may hold rows of `window`. One more on either side: where the zone's
    /// rules changed since, a row near midnight lies in the day that it belonged to when it came.
    pub(crate) fn around(&self, window: Window) -> (Partition, Partition) {
        let (first, last) = (self.of(window.start), self.of(UtcMicros(window.end.0 - 1)));
        (Partition(first.0 - 1), Partition(last.0 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ZONES: [&str; 5] = ["America/New_York", "Pacific/Apia", "America/St_Johns", "America/Sao_Paulo", "UTC"];

    proptest! {
        #[test]
        fn an_instant_lies_in_the_window_of_its_partition(
            zone in prop::sample::select(&ZONES[..]),
            times in prop::collection::vec(300_000_000_000_000..1_700_000_000_000_000_i64, 1..50),
        ) {
            let days = Days::new(zone.parse().unwrap());
            for (time, partition) in times.iter().zip(days.of_all(&times)) {
                let t = UtcMicros(*time);
                prop_assert_eq!(partition, days.of(t));
                prop_assert!(days.window(partition).contains(t));
                let (first, last) = days.around(Window { start: t, end: UtcMicros(time + 1) });
                prop_assert!(first < partition && partition < last);
            }
        }
    }

    #[test]
    fn the_ends_of_time_have_partitions() {
        let days = Days::new("Pacific/Kiritimati".parse().unwrap());
        assert!(days.of(UtcMicros(i64::MIN)) < days.of(UtcMicros(i64::MAX)));
        days.window(Partition(i32::MAX));
    }
}
