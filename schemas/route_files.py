"""The routes of alerts from their YAML file, and what is doubtful about them."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from schemas.loading import DocumentErrors, validated
from schemas.matching import matches
from schemas.printable import listed
from schemas.routes import MATCHED, AlertRoute, AlertRoutes
from schemas.yaml_source import Location, Problem, read

_KIND: Final = {"AlertRoutes": AlertRoutes}


def load_routes(path: Path | str) -> tuple[AlertRoutes, Location]:
    """Read the routes. Raises DocumentErrors with every problem of the file."""
    found, problems = read(Path(path))
    documents = [
        (document, location)
        for data, location in found
        if (document := validated(data, location, problems, _KIND)) is not None
    ]
    if len(found) > 1:
        problems.append(
            found[1][1].problem(
                (), "is a second document, and the routes are one", "write all routes into one"
            )
        )
    if problems:
        raise DocumentErrors(sorted(problems, key=lambda problem: problem.line))
    return documents[0]


def lint_routes(
    routes: AlertRoutes, location: Location, owners: Collection[str] = ()
) -> Iterator[Problem]:
    """What is doubtful: routes that nothing reaches, sinks that no route names, and which of the
    `owners` (their names) no route reaches."""
    reached: list[AlertRoute] = []
    for number, route in enumerate(routes.routes):
        before = next((r for r in reached if not r.continue_ and _covers(r, route)), None)
        if before is not None:
            yield location.problem(
                ("routes", number),
                f"nothing reaches the route {route.name!r}: {before.name!r} before it takes all",
                "put it before that one, or give that one 'continue: true'",
                "warning",
            )
        reached.append(route)
    used = {route.sink for route in routes.routes}
    if routes.digest is not None:
        used.add(routes.digest.sink)
    for name in routes.sinks:
        if name not in used:
            yield location.problem(
                ("sinks", name),
                f"no route names the sink {name!r}",
                "name it in a route, or remove it",
                "warning",
            )
    for name, sink in routes.sinks.items():
        mails = any(contact.email is not None for contact in routes.contacts.values())
        if sink.email is not None and sink.email.to is None and not mails:
            yield location.problem(
                ("sinks", name),
                f"mails of the sink {name!r} go to owners whose contact is an address, and to "
                "nobody else",
                "say 'to' in the sink, or 'email' under contacts",
                "warning",
            )
    silent = [
        owner
        for owner in sorted(owners)
        if not any(
            not route.match.owner or any(matches(p, owner) for p in route.match.owner)
            for route in routes.routes
        )
    ]
    if silent:
        yield location.problem(
            ("routes",),
            f"no route reaches {listed(silent)}",
            "add a route for them, or one at the end that matches every owner",
            "warning",
        )


def _covers(before: AlertRoute, route: AlertRoute) -> bool:
    """Whether all that matches a route matches the one before it, as far as can be told."""
    if (route.held and not before.held) or (route.held_too_long and not before.held_too_long):
        return False
    for name in MATCHED:
        wide, narrow = getattr(before.match, name), getattr(route.match, name)
        if wide and not (
            narrow and all(any(matches(w, text) or w == text for w in wide) for text in narrow)
        ):
            return False
    return True
