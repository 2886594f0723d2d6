"""Which routes a cause matches, and what they say: sinks, groups, contacts."""

from collections.abc import Mapping, Sequence
from typing import Final

from processors.alerts.causes import HELD, is_single
from schemas.alerts import AlertSilence, Cause
from schemas.matching import matches
from schemas.routes import MATCHED, AlertRoute, AlertRoutes, SinkKind

# Where an open alert can be changed without calling anybody.
UPDATED_IN_PLACE: Final[frozenset[SinkKind]] = frozenset({"slack", "alertmanager", "webhook"})
ACKNOWLEDGED_THERE: Final[frozenset[SinkKind]] = frozenset({"pagerduty", "slack", "webhook"})


class Routing:
    """The routes that are in use, for look-ups by name."""

    def __init__(self, routes: AlertRoutes) -> None:
        self.routes = routes
        self.kinds: dict[str, SinkKind] = {name: s.kind for name, s in routes.sinks.items()}
        self._by_name = {route.name: route for route in routes.routes}

    def of(self, cause: Cause) -> tuple[AlertRoute, ...]:
        """The routes that a cause goes by: the first that matches, and those behind it while they
        say `continue`. Of two to the same sink the first counts."""
        found: dict[str, AlertRoute] = {}
        for route in self.routes.routes:
            if self._fits(route, cause):
                found.setdefault(route.sink, route)
                if not route.continue_:
                    break
        return tuple(found.values())

    def called(self, cause: Cause) -> set[tuple[str, str | None]]:
        """The sinks that a cause is told, and whom each calls."""
        return {
            (route.sink, self.contact(route.sink, cause.owner_contact, cause.owner))
            for route in self.of(cause)
        }

    def named(self, name: str) -> AlertRoute | None:
        """The route of a name, None where the file has none by now."""
        return self._by_name.get(name)

    def contact(self, sink: str, owner_contact: str | None, owner: str | None) -> str | None:
        """How the owner is reached at a sink; None where the contacts do not say."""
        for name in (owner_contact, owner):
            contact = None if name is None else self.routes.contacts.get(name)
            if contact is None:
                continue
            match self.kinds[sink]:
                case "pagerduty" if contact.pagerduty is not None:
                    return str(contact.pagerduty)
                case "slack" if contact.slack is not None:
                    return contact.slack
                case "email" if contact.email is not None:
                    return contact.email
        if self.kinds[sink] == "email" and owner_contact is not None and "@" in owner_contact:
            return owner_contact
        return None

    def _fits(self, route: AlertRoute, cause: Cause) -> bool:
        if is_single(cause) and not (route.held if cause.kind == HELD else route.held_too_long):
            return False
        if cause.kind == "repeat" and self.kinds.get(route.sink) == "alertmanager":
            return False
        return all(
            _one_of(getattr(route.match, name), getattr(cause, name))
            for name in MATCHED
            if getattr(route.match, name)
        )


def group_of(route: AlertRoute, cause: Cause) -> dict[str, str | None]:
    """What the causes of one alert share."""
    return {name: getattr(cause, name) for name in route.group_by}


def covers(silence: AlertSilence, cause: Cause) -> bool:
    """Whether a silence is about a cause: each member that it names fits."""
    return fits(silence.match, cause)


def fits(match: Mapping[str, Sequence[str]], thing: object) -> bool:
    """Whether each member that `match` names is, in a thing, one of its texts."""
    return all(
        name in MATCHED and _one_of(patterns, getattr(thing, name))
        for name, patterns in match.items()
    )


def _one_of(patterns: Sequence[str], text: str | None) -> bool:
    return any(matches(pattern, text) for pattern in patterns)
