"""What a person asks of held handoffs, as amendments: checked before any of it is written.

Each amendment names the revision that the person saw. Where a newer one is known here, nothing is
written; where the processor has a newer one by then, it refuses the amendment.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, cast

import apsw
import msgspec
from msgspec import Raw

from console import asking
from processors.contracts.registry import RECEIVERS
from schemas.records import Amendment, Package
from web import typed
from web.auth.guard import Refusal
from web.context import Console
from web.model.queries.common import Place
from web.model.queries.held import HeldOne, HeldRow, held_one
from web.model.schema import NUMBER
from web.page import Asked
from web.typed import Input

Action = Literal["set", "redirect", "release", "discard"]
ACTIONS: Final = ("set", "redirect", "release", "discard")
MOST_REASON: Final = 1000  # characters


class NotAsked(ValueError):
    """What was sent cannot be asked; the text says why, without any value."""


class Wish(NamedTuple):
    """What is asked: of a `set` the fields, of a `redirect` the receiver."""

    action: Action
    reason: str
    fields: dict[str, Raw]
    to: str | None


class Revised(Exception):
    """The handoff has a newer revision than the person saw, or is held no more."""

    def __init__(self, now: HeldOne, seen: int) -> None:
        super().__init__(now.id)
        self.now = now
        self.seen = seen


def wish_of(form: Mapping[str, str], inputs: Mapping[str, Input], receivers: Sequence[str]) -> Wish:
    """What a form asks. Raises `NotAsked`."""
    action = form.get("action", "")
    if action not in ACTIONS:
        raise NotAsked("choose what to do: set fields, send it on, release or discard it")
    reason = form.get("reason", "").strip()
    if not reason:
        raise NotAsked("say why: whoever reads the handoff later sees it")
    if len(reason) > MOST_REASON:
        raise NotAsked(f"the reason is longer than {MOST_REASON:,} characters")
    fields: dict[str, Raw] = {}
    to = None
    if action == "set":
        try:
            fields = typed.read(inputs, form)
        except typed.NotAsAsked as error:
            raise NotAsked(str(error)) from None
        if not fields:
            raise NotAsked("put in a value for at least one field")
    if action == "redirect":
        to = form.get("to", "")
        if to not in receivers:
            raise NotAsked(f"choose a receiver that is registered on {RECEIVERS}")
    return Wish(cast(Action, action), reason, fields, to)


def checked(asked: Asked, db: apsw.Connection, seen: Mapping[str, int]) -> list[HeldRow]:
    """The held handoffs that a person saw in these revisions, if they may change all of them.
    Raises `Refusal` and `Revised`."""
    found = []
    for handoff_id, revision in seen.items():
        now = held_one(db, handoff_id)
        if now is None:
            raise Refusal(404, f"Nothing is known of the handoff {handoff_id}.")
        if now.held is None:
            asked.must("operator", now.workflow)
            raise Revised(now, revision)
        asked.must("operator", now.workflow, now.held.from_team, now.held.to_team)
        if now.held.revision != revision:
            raise Revised(now, revision)
        found.append(now.held)
    return found


def ask(asked: Asked, wish: Wish, held: Sequence[HeldRow]) -> list[str]:
    """Write what is asked of handoffs; returns the ids of the amendments. Raises `CommandError`,
    and `Refused` for a text that is too long."""
    now = asking.now()
    bodies = [
        Amendment(
            f"console-{uuid.uuid4().hex}",
            each.workflow,
            each.task_id,
            handoff_id=each.id,
            action=wish.action,
            by=asked.person.subject,
            occurred_at=now,
            fields=wish.fields,
            reason=wish.reason,
            to=wish.to,
            revision=each.revision,
        )
        for each in held
    ]
    asked.console.gate.amend(bodies)
    return [each.id for each in bodies]


def seen_revision(text: str) -> int:
    """A revision that a form names. Raises `Refusal`."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) < 1:
        raise Refusal(400, "The form does not say which revision you saw. Open the page again.")
    return int(text)


class Difference(NamedTuple):
    """What is another in the newest revision: the field, as it was in the one that was seen, and as
    it is now. No value."""

    name: str
    seen: str
    now: str


def difference(
    console: Console, db: apsw.Connection, handoff_id: str, seen: int, now: int
) -> list[Difference] | None:
    """What changed between two revisions; None where one of them cannot be read any more."""
    places = {}
    for revision in (seen, now):
        row = db.execute(
            "select topic, partition, offset from events where handoff_id = ? and detail = ? "
            "and topic in (?, ?) limit 1",
            (handoff_id, str(revision), NUMBER["handoff.held"], NUMBER["handoff.packages"]),
        ).fetchone()
        if row is None:
            return None
        topic = "handoff.held" if row[0] == NUMBER["handoff.held"] else "handoff.packages"
        places[revision] = Place(topic, row[1], row[2])
    records = console.gate.read(places.values())
    found = []
    for revision in (seen, now):
        record = records.get(places[revision])
        if record is None or record.value is None:
            return None
        found.append(msgspec.json.decode(record.value, type=Package))
    return differences(*found)


def differences(seen: Package, now: Package) -> list[Difference]:
    """What changed from one package to a later one, without a value."""
    names = dict.fromkeys([*seen.context, *seen.missing, *now.context, *now.missing])
    return [
        Difference(name, _how(seen, name), _how(now, name))
        for name in names
        if seen.context.get(name) != now.context.get(name) or _how(seen, name) != _how(now, name)
    ]


def _how(package: Package, name: str) -> str:
    if name not in package.context:
        return "missing" if name in package.missing else "not there"
    origin = package.provenance.get(name)
    if origin is None:
        return "there"
    return f"{origin.how} by {origin.by}" if origin.by else origin.how
