"""`handoff alerts`: who is told of what breaks, and what people say to it."""

import asyncio
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from alerts.active import WRITES, AlertSetup
from alerts.building import build
from alerts.delivery import Sink
from alerts.notification import Delivered, Failed, Notification
from alerts.process import run_until_asked
from alerts.secrets import SecretError
from alerts.service import AlertService
from alerts.sinks.webhook import SigningKeyError
from console import output
from console.errors import FOUND_PROBLEMS, BadInputError, CommandError, DeclinedError
from console.kafka import connect, read_table, write_all
from processors.alerts.book import Book
from processors.alerts.limits import DEFAULT_ALERT_LIMITS, AlertLimits
from processors.alerts.message import sentence, title
from processors.alerts.reasons import IN_WORDS, Reason
from processors.runtime.ending import Ending
from processors.runtime.logs import log_lines
from processors.runtime.settings import Settings, load_settings
from processors.runtime.transactions import Misconfigured
from schemas.alerts import (
    ACTIONS,
    ALERTS,
    Alert,
    AlertAction,
    AlertEntry,
    Cause,
    SinkTold,
)
from schemas.loading import DocumentErrors
from schemas.printable import plain
from schemas.route_files import lint_routes, load_routes
from schemas.routes import AlertRoutes, in_use
from schemas.unreadable import UNREADABLE
from topics.rights import missing

DEFAULT_ROUTES = Path(__file__).resolve().parents[2] / "alerts" / "routes.yaml"
_entry = msgspec.json.Decoder(AlertEntry).decode
_encode = msgspec.json.Encoder().encode


def routes_of(path: Path | str) -> AlertRoutes:
    """The routes of a file, without the sinks that are left out, each of which is said. Raises
    `BadInputError`."""
    kept, left_out = in_use(_loaded(path), _variables())
    for sentence_ in left_out:
        output.say(sentence_, err=True)
    return kept


def _loaded(path: Path | str) -> AlertRoutes:
    try:
        return load_routes(path)[0]
    except DocumentErrors as error:
        raise BadInputError(str(error)) from None


def _variables() -> frozenset[str]:
    """The names of the environment's variables that are set."""
    return frozenset(name for name, value in os.environ.items() if value.strip())


def service_of(
    settings: Settings, routes: AlertRoutes, limits: AlertLimits = DEFAULT_ALERT_LIMITS
) -> AlertService:
    """The service of these routes. Raises `BadInputError` for a secret that cannot be had."""

    def sinks() -> Sequence[Sink]:
        return build(routes)

    if not routes.routes:
        raise BadInputError(
            "no route is in use, so nobody would be told; set the variables of a sink"
        )
    try:
        asyncio.run(_closed(sinks()))  # so that a missing secret is said now
    except (SecretError, SigningKeyError) as error:
        raise BadInputError(str(error)) from None
    return AlertService(
        AlertSetup(
            settings=settings,
            routes=routes,
            make_sinks=sinks,
            limits=limits,
            console=settings.console_url,
        )
    )


async def _closed(sinks: Sequence[Sink]) -> None:
    for sink in sinks:
        await sink.close()


@click.command("run")
def run() -> None:
    """Tell people what breaks, until SIGTERM or Ctrl-C.

    Who is told is in the file that HANDOFF_ALERT_ROUTES names; without it the routes that are
    shipped, whose sinks are in use where their variables are set. Of several instances one tells,
    and another one takes over when it ends.
    """
    with Ending() as ending:
        log_lines()
        settings = load_settings()
        routes = routes_of(settings.alert_routes or DEFAULT_ROUTES)
        service = service_of(settings, routes)
        cluster = connect(settings)
        lacking = cluster.lacking("READ", service.setup.reads) + cluster.lacking("WRITE", WRITES)
        if lacking:
            raise DeclinedError(missing(lacking))
        try:
            status = run_until_asked(settings, service, ending)
        except Misconfigured as error:
            raise CommandError(str(error), FOUND_PROBLEMS) from None
    sys.exit(status)


@click.command("lint")
@click.argument("file", metavar="FILE")
@click.option(
    "--contracts",
    "paths",
    multiple=True,
    metavar="PATH",
    help="Name the owners of these contracts and receivers whom no route reaches.",
)
def lint(file: str, paths: tuple[str, ...]) -> None:
    """Check a file of routes, without a broker."""
    from console.commands.documents import load_documents  # noqa: PLC0415 - it is slow to load

    owners: set[str] = set()
    if paths:
        found = load_documents(paths)
        owners |= {contract.owner.name for contract in found.contracts}
        owners |= {owner.name for each in found.receivers for owner in each.owners}
    try:
        routes, location = load_routes(file)
    except DocumentErrors as error:
        raise BadInputError(str(error)) from None
    doubts = list(lint_routes(routes, location, owners))
    for problem in doubts:
        output.say(str(problem))
    output.say(
        f"{output.number(len(routes.routes), 'route')} to "
        f"{output.number(len(routes.sinks), 'sink')}: 0 errors, "
        f"{output.number(len(doubts), 'warning')}"
    )


@click.command("test")
@click.argument("route", metavar="ROUTE")
def test(route: str) -> None:
    """Send one alert by a route, and its end, and say what came back."""
    given = load_settings().alert_routes
    routes = _loaded(given or DEFAULT_ROUTES)
    found = next((each for each in routes.routes if each.name == route), None)
    if found is None:
        where = given or "the shipped routes (HANDOFF_ALERT_ROUTES is not set)"
        names = ", ".join(each.name for each in routes.routes) or "none"
        raise BadInputError(f"there is no route {route!r} in {where}; known there: {names}")
    only = {"sinks": {found.sink: routes.sinks[found.sink]}, "heartbeat": None}
    kept, left_out = in_use(routes.model_copy(update=only), _variables())
    if left_out:
        raise BadInputError(f"the route {route!r} is not in use, as {left_out[0]}; set it")
    if not asyncio.run(_tested(found.sink, kept)):
        sys.exit(FOUND_PROBLEMS)


async def _tested(name: str, routes: AlertRoutes) -> bool:
    try:
        [sink] = build(routes)
    except (SecretError, SigningKeyError) as error:
        raise BadInputError(str(error)) from None
    now, key, reference = datetime.now(UTC), f"a-test-{uuid.uuid4().hex}", None
    try:
        for number, action in enumerate(("trigger", "resolve"), 1):
            note = Notification(
                key=key,
                number=number,
                action="trigger" if action == "trigger" else "resolve",
                severity="warning",
                title="A test of handoff alerts: nothing is broken",
                facts=(("why now", "somebody ran handoff alerts test"),),
                labels={"alertname": "HandoffTest", "handoff_alert": key},
                started_at=now,
                at=now,
                ended_at=now if action == "resolve" else None,
                reference=reference,
            )
            answer = await sink.send(note)
            if not isinstance(answer, Delivered):
                tried = " (it would be tried again)" if isinstance(answer, Failed) else ""
                output.say(f"{plain(name)} did not take the {action}: {answer.why}{tried}")
                return False
            reference = answer.reference or reference
            output.say(f"{plain(name)} has taken the {action}")
    finally:
        await sink.close()
    return True


@click.command("list")
@output.as_json
def list_alerts(output_: str) -> None:
    """What is firing: who was told, and why the rest is told nobody."""
    alerts, causes = _entries()
    with output.ends_cleanly():
        if output_ == "json":
            for entry in (*alerts, *causes):
                output.line(_encode(entry))
            return
        if not causes and not alerts:
            output.say("nothing is firing; whether somebody tells alerts: handoff doctor", err=True)
            return
        book = Book((*alerts, *causes))
        if alerts:
            output.columns(
                ["key", "state", "severity", "since", "causes", "told", "title"],
                [list(_row(alert, book.members(alert.key))) for alert in alerts],
            )
        quiet = [cause for cause in causes if cause.alert is None]
        if quiet:
            if alerts:
                output.say("")
            output.columns(
                ["told nobody", "because"], [[sentence(each), _because(each)] for each in quiet]
            )


def _entries() -> tuple[list[Alert], list[Cause]]:
    alerts: list[Alert] = []
    causes: list[Cause] = []
    for key, value in read_table(connect(), ALERTS).items():
        try:
            entry = _entry(value)
        except UNREADABLE:
            output.say(f"{plain(key)} cannot be read: a newer version, or not ours", err=True)
            continue
        if isinstance(entry, Alert):
            alerts.append(entry)
        elif isinstance(entry, Cause):
            causes.append(entry)
    alerts.sort(key=lambda alert: (alert.started_at, alert.key))
    causes.sort(key=lambda cause: (cause.opened_at, cause.fingerprint))
    return alerts, causes


def _row(alert: Alert, causes: list[Cause]) -> Iterator[str]:
    yield alert.key
    yield f"{alert.state} by {alert.by}" if alert.by else alert.state
    yield alert.severity
    yield f"{alert.started_at:%Y-%m-%d %H:%M}"
    yield str(alert.causes)
    yield "; ".join(f"{sink}: {_told_there(told)}" for sink, told in sorted(alert.sinks.items()))
    # One that waits was not told yet, and has no title of its own.
    yield alert.title or title(alert, causes) or alert.first


def _told_there(told: SinkTold) -> str:
    if told.gone and told.stays_open:
        return "not in the routes any more, may stay open there"
    return told.undelivered or told.action or "not yet"


def _because(cause: Cause) -> str:
    known = cause.reason in {reason.value for reason in Reason}
    words = IN_WORDS[Reason(cause.reason)] if known else cause.reason
    return f"{words} ({cause.by})" if cause.by else words


def _say(key: str, action: str, by: str, until: datetime | None, reason: str | None) -> None:
    alerts, _ = _entries()
    if all(alert.key != key for alert in alerts):
        raise BadInputError(f"no alert {key!r} is open; see: handoff alerts list")
    said = msgspec.convert(
        {
            "id": uuid.uuid4().hex,
            "key": key,
            "action": action,
            "by": by,
            "occurred_at": datetime.now(UTC),
            "until": until,
            "reason": reason,
        },
        AlertAction,
    )
    write_all(connect(), ACTIONS, [(key, _encode(said))])
    output.say(f"{action}  {key}")


@click.command("ack")
@click.argument("key", metavar="KEY")
@click.option("--by", required=True, help="Who looks after it.")
def ack(key: str, by: str) -> None:
    """Say that somebody looks after an alert: it is quiet until it is more severe."""
    _say(key, "ack", by, None, None)


@click.command("resolve")
@click.argument("key", metavar="KEY")
@click.option("--by", required=True, help="Who resolved it.")
@click.option("--reason", help="How.")
def resolve_alert(key: str, by: str, reason: str | None) -> None:
    """Resolve an alert: its causes are quiet until they are more severe, or begin anew."""
    _say(key, "resolve", by, None, reason)
