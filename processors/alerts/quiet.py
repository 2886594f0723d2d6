"""Hours of the day in a time zone: quiet hours, and when a digest is due."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from schemas.routes import DAYS, Digest, QuietHours


def quiet_until(hours: QuietHours | None, now: datetime) -> datetime | None:
    """When the quiet hours end in which `now` is (UTC); None where it is in none.

    They begin on the days that are named, and may end on the next one. A time that the clocks skip
    or have twice is read as the zone's rules say, the first of two.
    """
    if hours is None:
        return None
    zone = ZoneInfo(hours.time_zone)
    today = now.astimezone(zone).date()
    ends = []
    for day in (today - timedelta(days=1), today):
        if DAYS[day.weekday()] not in hours.days:
            continue
        next_day = hours.to < hours.from_
        begin = _at(day, hours.from_, zone)
        end = _at(day + timedelta(days=next_day), hours.to, zone)
        if begin <= now < end:
            ends.append(end)
    return max(ends, default=None)


def next_digest(digest: Digest, now: datetime) -> datetime:
    """The next moment after `now` at which a digest is told (UTC)."""
    zone = ZoneInfo(digest.time_zone)
    today = now.astimezone(zone).date()
    for days in (0, 1, 2):
        due = _at(today + timedelta(days=days), digest.at, zone)
        if due > now:
            return due
    raise AssertionError("one of three days is after now")


def _at(day: date, when: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, when, zone).astimezone(UTC)
