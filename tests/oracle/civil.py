"""A city's clock, by Python's zoneinfo: days, weeks and months of 23 and 25 hours, window edges, and how to write one.

Nothing here comes from civicmesh: where the two differ, one of them is wrong."""

from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

SECOND = 1_000_000
HOUR = 3_600 * SECOND
UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Which civil units the windows of a grain lie within, the finest first.
HOLDS = {
    "15 minutes": ["hour", "day", "week", "month", "quarter", "year"],
    "1 hour": ["hour", "day", "week", "month", "quarter", "year"],
    "3 hours": ["day", "week", "month", "quarter", "year"],
    "1 day": ["day", "week", "month", "quarter", "year"],
    "1 week": ["week"],
    "1 month": ["month", "quarter", "year"],
}
FIELDS = {
    "hour": ["hour"],
    "day": ["day", "dow", "doy"],
    "week": ["week", "isoyear"],
    "month": ["month"],
    "quarter": ["quarter"],
    "year": ["year"],
}
# Strides of date_bin whose bins are made of whole windows, in minutes.
BINS = {"15 minutes": [15, 30, 60], "1 hour": [60]}


def shifted(time, by):
    """DuckDB's SQL for a time and an interval as a calendar adds them (RFC 5545, section 3.3.5): what the clock shows, moved;
    of two instants at which it shows that the earlier one, of which DuckDB takes the later."""
    zone = "current_setting('TimeZone')"
    shown = f"timezone({zone}, {time}) {by}"
    later = f"timezone({zone}, {shown})"
    earlier = f"{later} - INTERVAL '1 hour'"
    return f"(CASE WHEN timezone({zone}, {earlier}) = {shown} THEN {earlier} ELSE {later} END)"


def micros(at):
    """Microseconds since 1970 of a time that knows its zone."""
    return (at - EPOCH) // timedelta(microseconds=1)


class Clock:
    def __init__(self, zone):
        self.zone = zone
        self.info = ZoneInfo(zone)

    def local(self, us):
        """What the clock shows, without its zone."""
        return (EPOCH + timedelta(microseconds=us)).astimezone(self.info).replace(tzinfo=None)

    def at(self, local):
        """The first instant at which the clock shows this."""
        return micros(local.replace(tzinfo=self.info, fold=0).astimezone(UTC))

    def day(self, day):
        return self.at(datetime(day.year, day.month, day.day))

    def says_once(self, us):
        """Whether the clock shows this time at no other instant, and so it can be written without its offset."""
        local = self.local(us)
        first, second = (micros(local.replace(tzinfo=self.info, fold=fold).astimezone(UTC)) for fold in (0, 1))
        return first == second == us

    def trunc(self, unit, us):
        """The start of the hour, day, week, month, quarter or year around an instant."""
        local = self.local(us)
        if unit == "hour":
            past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
            return us - past // timedelta(microseconds=1)
        day = local.date()
        return self.day(
            {
                "day": day,
                "week": day - timedelta(days=day.weekday()),
                "month": day.replace(day=1),
                "quarter": date(day.year, (day.month - 1) // 3 * 3 + 1, 1),
                "year": date(day.year, 1, 1),
            }[unit]
        )

    def edge(self, grain, day, step):
        """An edge of a window of this grain near a day; `step` counts windows within the day where they are shorter."""
        if grain == "1 week":
            return self.day(day - timedelta(days=day.weekday()))
        if grain == "1 month":
            return self.day(day.replace(day=1))
        if grain == "1 day" or step == 0:
            return self.day(day)
        if grain == "3 hours":  # clocks change at night: from six on, the clock's hour names one instant
            return self.at(datetime(day.year, day.month, day.day, 6 + step % 6 * 3))
        return self.day(day) + step * (HOUR if grain == "1 hour" else HOUR // 4)


def utc(us):
    """An instant with its offset, to the second."""
    return (EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%SZ")
