"""What a page is asked for: filters and a range of time, as they stand in its URL."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

from msgspec import Struct
from msgspec.structs import replace

from schemas.records import FIRST_MS, LAST_MS
from schemas.serde import epoch_ms, utc

HOUR_MS: Final = 3_600_000
DEFAULT_HOURS: Final = 7 * 24
MOST_HOURS: Final = 400 * 24
_NAMES: Final = ("workflow", "contract", "receiver", "team", "owner", "kind", "severity")
_MOST_CHARACTERS: Final = 1_000
_SEVERITIES: Final = ("error", "warning", "info")


class FilterError(ValueError):
    """A filter that cannot be understood; the text is a sentence for a person."""


class Span(NamedTuple):
    """A range of time in epoch ms, from `since` to before `until`."""

    since: int
    until: int


class Filters(Struct, frozen=True, omit_defaults=True):
    """What is looked for. `team` is on either side of a handoff.

    The range is from `since` to `until` (epoch ms); where one is not given, `hours` long; where
    neither is, up to now. The range before it has the same length.
    """

    workflow: str | None = None
    contract: str | None = None
    receiver: str | None = None
    team: str | None = None
    owner: str | None = None
    kind: str | None = None
    severity: str | None = None
    since: int | None = None
    until: int | None = None
    hours: int = DEFAULT_HOURS

    @classmethod
    def parse(cls, query: str | Mapping[str, str]) -> "Filters":
        """From a URL's query. Other names in it are left alone. Raises `FilterError`."""
        pairs = dict(parse_qsl(query)) if isinstance(query, str) else dict(query)
        texts: dict[str, Any] = {name: pairs[name] for name in _NAMES if pairs.get(name)}
        for name, text in texts.items():
            if len(text) > _MOST_CHARACTERS:
                raise FilterError(f"{name} is longer than {_MOST_CHARACTERS:,} characters")
        if texts.get("severity", "error") not in _SEVERITIES:
            raise FilterError(f"severity is one of {', '.join(_SEVERITIES)}")
        times: dict[str, Any] = {
            name: _moment(name, pairs[name]) for name in ("since", "until") if pairs.get(name)
        }
        hours = _hours(pairs["last"]) if pairs.get("last") else DEFAULT_HOURS
        found = cls(**texts, **times, hours=hours)
        if found.since is not None and found.until is not None and found.since >= found.until:
            raise FilterError("since must be before until")
        return found

    def pairs(self) -> dict[str, str]:
        """What of a URL's query says the same, by name."""
        found = {name: text for name in _NAMES if (text := getattr(self, name)) is not None}
        for name in ("since", "until"):
            moment = getattr(self, name)
            if moment is not None:
                found[name] = _told(moment)
        if self.hours != DEFAULT_HOURS:
            found["last"] = f"{self.hours}h"
        return found

    def query(self) -> str:
        """The same as a URL's query, without the question mark."""
        return urlencode(self.pairs())

    def span(self, now: int) -> Span:
        """The range at a moment, in whole hours: it begins and ends with one (UTC)."""
        length = self.hours * HOUR_MS
        if self.until is not None:
            until = -(-self.until // HOUR_MS) * HOUR_MS
        elif self.since is not None and self.hours == DEFAULT_HOURS:
            until = (now // HOUR_MS + 1) * HOUR_MS
        elif self.since is not None:
            until = self.since // HOUR_MS * HOUR_MS + length
        else:
            until = (now // HOUR_MS + 1) * HOUR_MS
        since = until - length if self.since is None else self.since // HOUR_MS * HOUR_MS
        return Span(since, max(until, since + HOUR_MS))

    def before(self, now: int) -> Span:
        """The range before, of the same length."""
        since, until = self.span(now)
        return Span(2 * since - until, since)

    def but(self, **changed: str | int | None) -> "Filters":
        """These filters with some changed."""
        return replace(self, **changed)


def _moment(name: str, text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise FilterError(f"{name} is a time such as 2026-03-01T09:00:00Z or a date") from None
    moment = epoch_ms(found if found.tzinfo else found.replace(tzinfo=UTC))
    if not FIRST_MS <= moment <= LAST_MS:  # an offset may lead out of the calendar
        raise FilterError(f"{name} lies outside of the years 1 to 9999 in UTC")
    return moment


def _told(moment: int) -> str:
    text = utc(moment).isoformat(timespec="milliseconds" if moment % 1000 else "seconds")
    return text.replace("+00:00", "Z")


def _hours(text: str) -> int:
    unit = {"h": 1, "d": 24}.get(text[-1:])
    number = text[:-1]
    if unit is None or not (number.isascii() and number.isdecimal()) or len(number) > 5:
        raise FilterError("last is a number of hours or days, such as 24h or 7d")
    found = int(number) * unit
    if not 1 <= found <= MOST_HOURS:
        raise FilterError(f"last is at least an hour and at most {MOST_HOURS // 24} days")
    return found
