use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

fn at(text: &str) -> UtcMicros {
    text.parse().unwrap()
}

fn calendar(name: &str, grain: &str) -> Calendar {
    Calendar::new(zone(name), grain.parse().unwrap())
}

fn grains() -> Vec<Grain> {
    let minutes = MINUTES.into_iter().map(Grain::Minutes);
    let hours = HOURS.into_iter().map(Grain::Hours);
    minutes.chain(hours).chain([Grain::Day, Grain::Week, Grain::Month]).collect()
}

/// The local times at which the windows between two instants begin.
fn starts(calendar: &Calendar, from: &str, until: &str) -> Vec<String> {
    calendar
        .windows(at(from), at(until))
        .map(|window| calendar.zone().to_local(window.start).format("%d %H:%M").to_string())
        .collect()
}

/// The lengths in minutes of the windows between two instants.
fn minutes(calendar: &Calendar, from: &str, until: &str) -> Vec<i64> {
    calendar.windows(at(from), at(until)).map(|window| (window.end.0 - window.start.0) / (60 * SECOND)).collect()
}

#[test]
fn grains_are_read_and_written() {
    for grain in grains() {
        assert_eq!(grain.to_string().parse(), Ok(grain));
    }
    assert_eq!("5 minutes".parse(), Ok(Grain::Minutes(5)));
    assert_eq!(serde_json::to_string(&Grain::Hours(1)).unwrap(), "\"1 hour\"");
    for bad in
        ["", "day", "2 days", "7 minutes", "60 minutes", "0 minutes", "24 hours", "1 year", "-1 hours", "1 hour ago"]
    {
        assert_eq!(bad.parse::<Grain>(), Err(GrainError), "{bad}");
    }
}

#[test]
#[should_panic(expected = "does not divide")]
fn a_calendar_of_a_grain_that_tiles_nothing_is_refused() {
    Calendar::new(Zone::UTC, Grain::Minutes(0));
}

#[test]
fn days_last_23_and_25_hours() {
    let days = calendar("America/New_York", "1 day");
    assert_eq!(minutes(&days, "2020-03-07T05:00:00Z", "2020-03-10T04:00:00Z"), [1440, 1380, 1440]);
    assert_eq!(minutes(&days, "2020-10-31T04:00:00Z", "2020-11-03T05:00:00Z"), [1440, 1500, 1440]);
    let hours = calendar("America/New_York", "1 hour");
    assert_eq!(hours.count(at("2020-03-08T05:00:00Z"), at("2020-03-09T04:00:00Z")), 23);
    assert_eq!(hours.count(at("2020-11-01T04:00:00Z"), at("2020-11-02T05:00:00Z")), 25);
    let threes = calendar("America/New_York", "3 hours");
    assert_eq!(minutes(&threes, "2020-03-08T05:00:00Z", "2020-03-08T13:00:00Z"), [120, 180, 180]);
    assert_eq!(minutes(&threes, "2020-11-01T04:00:00Z", "2020-11-01T14:00:00Z"), [240, 180, 180]);
}

#[test]
fn weeks_begin_on_monday_and_months_on_the_first() {
    let weeks = calendar("America/New_York", "1 week");
    assert_eq!(weeks.align_down(at("2020-02-27T00:00:00Z")), at("2020-02-24T05:00:00Z"));
    assert_eq!(weeks.align_up(at("2020-03-02T05:00:00Z")), at("2020-03-02T05:00:00Z"));
    assert_eq!(weeks.align_up(at("2020-03-02T05:00:00.000001Z")), at("2020-03-09T04:00:00Z"));
    let months = calendar("America/New_York", "1 month");
    let march = months.window_of(at("2020-03-15T00:00:00Z"));
    assert_eq!((march.start, march.end), (at("2020-03-01T05:00:00Z"), at("2020-04-01T04:00:00Z")));
    assert_eq!(months.next(&march).end, at("2020-05-01T04:00:00Z"));
    assert_eq!(months.count(at("2020-01-01T05:00:00Z"), at("2021-01-01T05:00:00Z")), 12);
}

#[test]
fn clocks_that_move_by_half_an_hour() {
    let hours = calendar("Australia/Lord_Howe", "1 hour");
    // forward: 02:00 +10:30 becomes 02:30 +11:00
    let spring = ("2020-10-03T14:30:00Z", "2020-10-03T17:00:00Z");
    assert_eq!(starts(&hours, spring.0, spring.1), ["04 01:00", "04 02:30", "04 03:00"]);
    assert_eq!(minutes(&hours, spring.0, spring.1), [60, 30, 60]);
    // back: 02:00 +11:00 becomes 01:30 +10:30
    let autumn = ("2020-04-04T14:00:00Z", "2020-04-04T16:30:00Z");
    assert_eq!(starts(&hours, autumn.0, autumn.1), ["05 01:00", "05 01:30", "05 02:00"]);
    assert_eq!(minutes(&hours, autumn.0, autumn.1), [60, 30, 60]);
}

#[test]
fn days_that_do_not_begin_at_midnight_or_never_were() {
    let days = calendar("America/Sao_Paulo", "1 day");
    let (from, until) = ("2018-11-03T03:00:00Z", "2018-11-06T02:00:00Z");
    assert_eq!(starts(&days, from, until), ["03 00:00", "04 01:00", "05 00:00"]);
    assert_eq!(minutes(&days, from, until), [1440, 1380, 1440]);
    let days = calendar("Pacific/Apia", "1 day");
    let (from, until) = ("2011-12-28T10:00:00Z", "2012-01-01T10:00:00Z");
    assert_eq!(starts(&days, from, until), ["28 00:00", "29 00:00", "31 00:00", "01 00:00"]);
    assert_eq!(days.count(at(from), at(until)), 4);
    // one minute past midnight the clocks went back to 23:01: the old day does not begin again
    let days = calendar("America/St_Johns", "1 day");
    let second_pass = at("2008-11-02T02:45:00Z");
    assert_eq!(days.zone().to_local(second_pass).to_string(), "2008-11-01 23:15:00");
    assert_eq!(starts(&days, "2008-11-01T02:30:00Z", "2008-11-03T03:30:00Z"), ["01 00:00", "02 00:00"]);
    assert_eq!(days.window_of(second_pass).start, at("2008-11-02T02:30:00Z"));
}

#[test]
fn windows_follow_the_clock_where_it_is_not_whole_hours_from_utc() {
    let hours = calendar("Asia/Kathmandu", "1 hour");
    assert_eq!(hours.align_down(at("2024-05-01T12:00:00Z")), at("2024-05-01T11:15:00Z"));
    let quarters = calendar("Asia/Kathmandu", "20 minutes");
    assert_eq!(quarters.align_down(at("2024-05-01T12:00:00Z")), at("2024-05-01T11:55:00Z"));
}

#[test]
fn the_ends_of_time_are_windows_too() {
    for grain in grains() {
        for name in ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
            let calendar = Calendar::new(zone(name), grain);
            for t in [i64::MIN, UtcMicros::MIN.0, UtcMicros::MAX.0, i64::MAX] {
                let window = calendar.window_of(UtcMicros(t));
                assert!(window.contains(UtcMicros(t).clamp(UtcMicros::MIN, UtcMicros::MAX)));
            }
            let late = UtcMicros(UtcMicros::MAX.0 - 70 * DAY);
            let last = calendar.windows(late, UtcMicros(i64::MAX)).last().unwrap();
            assert!(last.end <= UtcMicros::MAX && calendar.next(&last).end > UtcMicros::MAX);
            assert_eq!(calendar.windows(UtcMicros(9), UtcMicros(9)).count(), 0);
            assert_eq!(calendar.count(UtcMicros(i64::MAX), UtcMicros(i64::MIN)), 0);
        }
    }
}

/// What must hold of the window of `t`.
fn check_window(calendar: &Calendar, t: UtcMicros) -> Result<(), TestCaseError> {
    let window = calendar.window_of(t);
    prop_assert!(window.contains(t), "{:?} {} {:?}", calendar, t, window);
    for inside in [window.start, UtcMicros(window.end.0 - 1)] {
        prop_assert_eq!(calendar.window_of(inside), window, "{:?} {} {}", calendar, t, inside);
    }
    prop_assert_eq!(calendar.next(&window).start, window.end, "{:?} {}", calendar, t);
    let before = calendar.window_of(UtcMicros(window.start.0 - 1));
    prop_assert_eq!(before.end, window.start, "{:?} {}", calendar, t);
    prop_assert_eq!(calendar.is_edge(t), t == window.start);
    prop_assert!(calendar.is_edge(window.start) && calendar.is_edge(window.end));
    prop_assert_eq!(calendar.align_down(t), window.start);
    prop_assert_eq!(calendar.align_up(t), if t == window.start { t } else { window.end });
    if let Some(length) = calendar.grain.clock_micros() {
        let (first, last) = (window.start.0, window.end.0 - 1);
        let local = |micros: i64| micros + calendar.zone.offset_micros(UtcMicros(micros));
        prop_assert!(window.end.0 - window.start.0 <= length);
        prop_assert_eq!(local(last) - local(first), last - first, "one offset");
        prop_assert_eq!(local(last).div_euclid(length), local(first).div_euclid(length), "one clock window");
    }
    Ok(())
}

/// Every change of a zone's offset in some years.
fn changes(zone: Zone, from: UtcMicros, until: UtcMicros) -> Vec<UtcMicros> {
    let calendar = Calendar::new(zone, Grain::Hours(1));
    let mut changes = Vec::new();
    let mut t = from;
    while t < until {
        let end = calendar.stretch_end(t, UtcMicros(t.0 + OFFSET_STEP));
        if zone.offset_micros(end) != zone.offset_micros(t) {
            changes.push(end);
        }
        t = end;
    }
    changes
}

#[test]
fn windows_tile_time_around_every_change_of_every_zone() {
    let grains = ["20 minutes", "1 hour", "3 hours", "1 day", "1 week", "1 month"];
    let mut seen = 0;
    for zone in Zone::all() {
        let changes = changes(zone, at("1969-12-31T00:00:00Z"), at("2038-01-01T00:00:00Z"));
        seen += changes.len();
        for change in changes {
            for grain in grains {
                let calendar = Calendar::new(zone, grain.parse().unwrap());
                for t in [change.0 - 1, change.0, change.0 + HOUR / 2, change.0 + 2 * HOUR] {
                    check_window(&calendar, UtcMicros(t)).unwrap();
                }
            }
        }
    }
    assert!(seen > 30_000, "{seen} changes");
}

fn any_zone() -> impl Strategy<Value = Zone> {
    let odd = [
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "America/Sao_Paulo",
        "Asia/Kathmandu",
        "America/St_Johns",
        "Africa/Casablanca",
    ];
    prop_oneof![select(odd.map(zone).to_vec()), select(Zone::all().collect::<Vec<_>>())]
}

fn any_time() -> impl Strategy<Value = UtcMicros> {
    let micros = prop_oneof![
        8 => at("1970-01-01T00:00:00Z").0..at("2040-01-01T00:00:00Z").0,
        1 => at("1840-01-01T00:00:00Z").0..at("2200-01-01T00:00:00Z").0,
        1 => UtcMicros::MIN.0 + 40 * DAY..UtcMicros::MAX.0 - 40 * DAY,
    ];
    // on the second or the hour more often than by chance
    (micros, select(vec![1, SECOND, HOUR])).prop_map(|(t, unit)| UtcMicros(t - t % unit))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn windows_tile_time(zone in any_zone(), grain in select(grains()), t in any_time()) {
        check_window(&Calendar::new(zone, grain), t)?;
    }

    #[test]
    fn walked_and_counted_windows_agree(
        zone in any_zone(), grain in select(grains()), from in any_time(), length in 0..400 * DAY,
    ) {
        let calendar = Calendar::new(zone, grain);
        let length = match grain {
            Grain::Minutes(_) => length / 20,
            _ => length,
        };
        let until = UtcMicros(from.0 + length);
        let mut edge = calendar.align_up(from);
        let mut count = 0;
        for window in calendar.windows(from, until) {
            prop_assert_eq!(window.start, edge);
            prop_assert!(window.end <= until);
            edge = window.end;
            count += 1;
        }
        prop_assert!(edge > until || calendar.window_of(edge).end > until);
        prop_assert_eq!(calendar.count(from, until), count);
    }

    #[test]
    fn a_civil_window_begins_when_its_beginning_is_shown(zone in any_zone(), t in any_time()) {
        let day = Calendar::new(zone, Grain::Day).window_of(t);
        let date = zone.to_local(day.start).date();
        prop_assert_eq!(zone.start_of_day(date), day.start);
        let before = zone.to_local(UtcMicros(day.start.0 - 1));
        prop_assert!(before.date() < date);
        for grain in [Grain::Hours(12), Grain::Week, Grain::Month] {
            let calendar = Calendar::new(zone, grain);
            let edge = calendar.align_down(t);
            prop_assert!(calendar.grain() != Grain::Month || zone.to_local(edge).day() == 1 || edge < zone.start_of_day(date));
            prop_assert!(calendar.is_edge(edge));
        }
    }
}
