"""All that is remembered of alerts: the entries of `handoff.alerts`, and the silences.

Whoever reads the entries back has the same book. What was changed since it was asked last is in
`changed`, so that it can be written down.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec.structs import replace

from processors.alerts.inhibition import Inhibitors
from processors.alerts.reasons import Reason
from schemas.alerts import (
    Alert,
    AlertEntry,
    AlertSilence,
    Cause,
    SinkRate,
    VersionSince,
    entry_key,
)

_REASONS: Final = frozenset(reason.value for reason in Reason)


class Book:
    """The entries by kind, and which causes each alert tells."""

    def __init__(
        self, entries: Iterable[AlertEntry] = (), silences: Iterable[AlertSilence] = ()
    ) -> None:
        self.causes: dict[str, Cause] = {}
        self.alerts: dict[str, Alert] = {}
        self.rates: dict[str, SinkRate] = {}
        self.versions: dict[str, VersionSince] = {}
        self.silences: dict[str, AlertSilence] = {each.id: each for each in silences}
        self.inhibitors = Inhibitors()
        self._members: dict[str, set[str]] = {}
        self._untold: set[str] = set()
        self._changed: dict[str, AlertEntry | None] = {}
        for entry in entries:
            self._take(entry)
        self._changed.clear()
        self._let_go()

    def _take(self, entry: AlertEntry) -> None:
        match entry:
            case Cause():
                self.put_cause(entry)
            case Alert():
                known = entry.reason in _REASONS  # else a newer version has written it
                self.put_alert(entry if known else replace(entry, reason=Reason.UPDATED.value))
            case SinkRate():
                self.put_rate(entry)
            case VersionSince():
                self.put_version(entry)

    def _let_go(self) -> None:
        """A cause whose alert is not there, as its entry could not be read, or has ended, as
        somebody else wrote it, is to be told anew."""
        for cause in list(self.causes.values()):
            if cause.alert is None:
                continue
            alert = self.alerts.get(cause.alert)
            if alert is None or alert.state == "ended":
                self.put_cause(replace(cause, alert=None, reason=Reason.NEW.value, told_count=0))

    def entries(self) -> Iterator[AlertEntry]:
        """All entries."""
        yield from self.causes.values()
        yield from self.alerts.values()
        yield from self.rates.values()
        yield from self.versions.values()

    def changed(self) -> dict[str, AlertEntry | None]:
        """What has changed since this was asked last, by key; None where it is deleted."""
        changed, self._changed = self._changed, {}
        return changed

    def untold(self) -> list[Cause]:
        """The causes that no alert tells, those that came first first."""
        found = [self.causes[fingerprint] for fingerprint in self._untold]
        return sorted(found, key=lambda cause: (cause.opened_at, cause.fingerprint))

    def members(self, key: str) -> list[Cause]:
        """The causes of an alert: the most severe first, then the most frequent."""
        found = [self.causes[fingerprint] for fingerprint in self._members.get(key, ())]
        return sorted(found, key=lambda c: (c.severity != "error", -c.count, c.fingerprint))

    def member_names(self, key: str) -> set[str]:
        """The fingerprints of the causes of an alert; not to be changed."""
        return self._members.get(key, set())

    def put_cause(self, cause: Cause) -> None:
        """Write a cause down, new or changed."""
        before = self.causes.get(cause.fingerprint)
        if before == cause:
            return
        if before is not None:
            self._unlink(before)
            self.inhibitors.remove(before)
        self.causes[cause.fingerprint] = cause
        if cause.alert is None:
            self._untold.add(cause.fingerprint)
        else:
            self._members.setdefault(cause.alert, set()).add(cause.fingerprint)
        self.inhibitors.put(cause)
        self._changed[entry_key(cause)] = cause

    def remove_cause(self, cause: Cause) -> None:
        """Forget a cause."""
        before = self.causes.pop(cause.fingerprint)
        self._unlink(before)
        self.inhibitors.remove(before)
        self._changed[entry_key(before)] = None

    def _unlink(self, cause: Cause) -> None:
        if cause.alert is None:
            self._untold.discard(cause.fingerprint)
            return
        members = self._members[cause.alert]
        members.discard(cause.fingerprint)
        if not members:
            del self._members[cause.alert]

    def put_alert(self, alert: Alert) -> None:
        """Write an alert down, new or changed."""
        if self.alerts.get(alert.key) != alert:
            self.alerts[alert.key] = alert
            self._changed[entry_key(alert)] = alert

    def remove_alert(self, alert: Alert) -> None:
        """Forget an alert that tells no cause any more."""
        assert not self._members.get(alert.key)
        del self.alerts[alert.key]
        self._changed[entry_key(alert)] = None

    def put_rate(self, rate: SinkRate) -> None:
        """Write down how much a sink was told; nothing where it was told nothing lately."""
        if rate.told or rate.summary_at is not None:
            if self.rates.get(rate.sink) != rate:
                self.rates[rate.sink] = rate
                self._changed[entry_key(rate)] = rate
        elif self.rates.pop(rate.sink, None) is not None:
            self._changed[entry_key(rate)] = None

    def put_version(self, version: VersionSince) -> None:
        """Write down since when a contract's version is in force."""
        if self.versions.get(version.contract) != version:
            self.versions[version.contract] = version
            self._changed[entry_key(version)] = version
