//! Civil units of time, which grains lie within which, and the truncation to one that the rewriter puts in the place
//! of `date_trunc` over a product's time.
//!
//! DataFusion's own `date_trunc` makes two days of one where midnight comes twice (the Azores and Cuba in autumn);
//! this one follows the calendar that windows follow.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::Datelike;
use civicmesh_model::grain::{Calendar, Grain, Window};
use civicmesh_model::time::{UtcMicros, Zone};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::error::QueryError;

/// The type of a product's time column.
pub(crate) fn time_type(zone: Zone) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(zone.name().into()))
}

/// A civil unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Unit {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    /// From the Monday of its first week.
    IsoYear,
    Year,
}

impl Unit {
    /// The unit of `date_trunc`; none for one finer than a minute or unknown.
    pub(crate) fn of_trunc(name: &str) -> Option<Self> {
        Some(match name {
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "quarter" => Self::Quarter,
            "year" => Self::Year,
            _ => return None,
        })
    }

    /// The unit within which a field of `extract` stays as it is; none for one finer than a minute or unknown.
    pub(crate) fn of_field(name: &str) -> Option<Self> {
        Some(match name {
            "minute" | "minutes" => Self::Minute,
            "hour" | "hours" => Self::Hour,
            "day" | "days" | "dow" | "isodow" | "doy" => Self::Day,
            "week" | "weeks" => Self::Week,
            "month" | "months" => Self::Month,
            "quarter" | "qtr" => Self::Quarter,
            "isoyear" => Self::IsoYear,
            "year" | "years" => Self::Year,
            _ => return None,
        })
    }

    /// Its name in `date_trunc`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::IsoYear => "isoyear",
            Self::Year => "year",
        }
    }

    /// Whether every window of the grain lies within one such unit.
    pub(crate) fn holds(self, grain: Grain) -> bool {
        match grain {
            Grain::Minutes(1) => true,
            Grain::Minutes(_) | Grain::Hours(1) => self >= Self::Hour,
            Grain::Hours(_) | Grain::Day => self >= Self::Day,
            Grain::Week => matches!(self, Self::Week | Self::IsoYear),
            Grain::Month => matches!(self, Self::Month | Self::Quarter | Self::Year),
        }
    }

    /// The finest unit that holds windows of the grain.
    pub(crate) fn finest(grain: Grain) -> Self {
        match grain {
            Grain::Minutes(1) => Self::Minute,
            Grain::Minutes(_) | Grain::Hours(1) => Self::Hour,
            Grain::Hours(_) | Grain::Day => Self::Day,
            Grain::Week => Self::Week,
            Grain::Month => Self::Month,
        }
    }

    /// The stretch of time around `t` that the unit makes in the zone.
    fn around(self, zone: Zone, t: UtcMicros) -> Window {
        let by = |grain| Calendar::new(zone, grain);
        let months = |first: u32, length: u32| {
            let month = by(Grain::Month).window_of(t);
            let date = zone.to_local(month.start).date();
            let start = date.with_month(first).expect("every year has this month");
            let end = start + chrono::Months::new(length);
            Window { start: zone.start_of_day(start), end: zone.start_of_day(end) }
        };
        match self {
            Self::Minute => by(Grain::Minutes(1)).window_of(t),
            Self::Hour => by(Grain::Hours(1)).window_of(t),
            Self::Day => by(Grain::Day).window_of(t),
            Self::Week | Self::IsoYear => by(Grain::Week).window_of(t),
            Self::Month => by(Grain::Month).window_of(t),
            Self::Quarter => {
                let month = zone.to_local(by(Grain::Month).window_of(t).start).date().month0();
                months(month / 3 * 3 + 1, 3)
            }
            Self::Year => months(1, 12),
        }
    }
}

/// `date_trunc` of a product's time.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CivilTrunc {
    unit: Unit,
    zone: Zone,
    signature: Signature,
}

/// The function that truncates a time of the zone to the unit.
pub(crate) fn civil_trunc(unit: Unit, zone: Zone) -> Arc<ScalarUDF> {
    let signature = Signature::exact(vec![time_type(zone)], Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(CivilTrunc { unit, zone, signature }))
}

impl CivilTrunc {
    fn truncate(&self, times: &ArrayRef) -> TimestampMicrosecondArray {
        let times = times.as_primitive::<TimestampMicrosecondType>();
        // neighbours mostly lie in the same unit
        let mut last = Window { start: UtcMicros(0), end: UtcMicros(0) };
        let starts = times.values().iter().enumerate().map(|(row, time)| {
            let time = UtcMicros(*time);
            if !last.contains(time) && times.is_valid(row) {
                last = self.unit.around(self.zone, time);
            }
            last.start.0
        });
        let starts = TimestampMicrosecondArray::new(starts.collect(), times.nulls().cloned());
        starts.with_timezone(self.zone.name())
    }
}

impl ScalarUDFImpl for CivilTrunc {
    fn name(&self) -> &str {
        match self.unit {
            Unit::Minute => "civicmesh_minute",
            Unit::Hour => "civicmesh_hour",
            Unit::Day => "civicmesh_day",
            Unit::Week | Unit::IsoYear => "civicmesh_week",
            Unit::Month => "civicmesh_month",
            Unit::Quarter => "civicmesh_quarter",
            Unit::Year => "civicmesh_year",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(time_type(self.zone))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time] = arguments.args.as_slice() else {
            return Err(QueryError::Internal("a truncation takes one time").into());
        };
        match time {
            ColumnarValue::Array(times) => Ok(ColumnarValue::Array(Arc::new(self.truncate(times)))),
            ColumnarValue::Scalar(time) => {
                let time = self.truncate(&time.to_array()?);
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&time, 0)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use civicmesh_model::time::Zone;
    use proptest::prelude::*;

    use super::*;

    const UNITS: [Unit; 7] = [Unit::Minute, Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::Quarter, Unit::Year];
    const GRAINS: [Grain; 8] = [
        Grain::Minutes(1),
        Grain::Minutes(15),
        Grain::Hours(1),
        Grain::Hours(3),
        Grain::Hours(12),
        Grain::Day,
        Grain::Week,
        Grain::Month,
    ];

    fn zone(name: &str) -> Zone {
        name.parse().unwrap()
    }

    #[test]
    fn midnight_that_comes_twice_begins_one_day() {
        let azores = zone("Atlantic/Azores");
        let first: UtcMicros = "2026-10-25T00:00:00Z".parse().unwrap();
        let second: UtcMicros = "2026-10-25T01:00:00Z".parse().unwrap();
        assert_eq!(azores.to_local(first), azores.to_local(second));
        for at in [first, second, "2026-10-25T20:00:00Z".parse().unwrap()] {
            assert_eq!(Unit::Day.around(azores, at).start, first);
        }
    }

    #[test]
    fn quarters_and_years() {
        let zone = zone("Europe/Copenhagen");
        let at: UtcMicros = "2020-08-15T12:00:00Z".parse().unwrap();
        let quarter = Unit::Quarter.around(zone, at);
        assert_eq!(quarter.start.to_string(), "2020-06-30T22:00:00Z");
        assert_eq!(quarter.end.to_string(), "2020-09-30T22:00:00Z");
        let year = Unit::Year.around(zone, at);
        assert_eq!(year.start.to_string(), "2019-12-31T23:00:00Z");
        assert_eq!(year.end.to_string(), "2020-12-31T23:00:00Z");
    }

    proptest! {
        /// The rule that lets a truncation through: no window of the grain has times in two units.
        #[test]
        fn windows_lie_within_units(
            zone in prop::sample::select(vec![
                "Europe/Copenhagen", "America/New_York", "Atlantic/Azores", "Australia/Lord_Howe", "Asia/Kathmandu",
                "America/Havana", "Africa/Cairo", "UTC",
            ]),
            at in 0_i64..2_000_000_000,
        ) {
            let zone: Zone = zone.parse().unwrap();
            for grain in GRAINS {
                let window = Calendar::new(zone, grain).window_of(UtcMicros(at * 1_000_000));
                for unit in UNITS.into_iter().filter(|unit| unit.holds(grain)) {
                    let stretch = unit.around(zone, window.start);
                    prop_assert!(stretch.contains(window.start) && window.end <= stretch.end, "{grain} {unit:?}");
                }
            }
        }
    }
}
