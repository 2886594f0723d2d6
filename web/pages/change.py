"""What a change of contracts would do, before anybody registers it."""

from collections.abc import Iterator
from typing import Any, Final

from starlette.responses import Response

from console import yaml_text
from console.contract_change import ComparedContract, one_each
from console.errors import CommandError
from console.replay import Begins, Difference, Failures, Sample
from schemas.documents import HandoffContract
from schemas.loading import Documents
from web import cells, trying
from web.context import Registered
from web.page import Asked, render, route
from web.tables import Cell, Column, Row, Table, row
from web.text import percent
from web.trying import JudgedAgain, NotTried
from web.urls import task_url

NAV: Final = ()


def page(asked: Asked) -> Response:
    """`/change`, and `/change?id=...` with a contract to begin with."""
    with asked.console.model.read() as db:
        registered = asked.console.registered(db)
    contract = one_each(registered.contracts.values()).get(asked.query("id"))
    if contract is None:
        return _answered(asked, "")
    _must_read(asked, contract, registered)
    written = contract.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return _answered(asked, yaml_text.document(written))


def tried(asked: Asked) -> Response:
    """The form of `/change`. What it says is answered, and kept nowhere."""
    text = asked.form.get("text", "").replace("\r\n", "\n")
    console = asked.console
    try:
        new = trying.documents_in(text)
    except NotTried as error:
        return _answered(asked, text, 400, problems=str(error).splitlines())
    with console.model.read() as db:
        registered = console.registered(db)
        now = one_each(registered.contracts.values())
        for each in new.contracts:
            _must_read(asked, each, registered)
            if each.id in now:
                _must_read(asked, now[each.id], registered)
        tasks, places = trying.newest(db, asked.person, new)
    changes = trying.changes(new, registered)
    why = None
    again = None
    try:
        again = trying.judged_again(console, new, registered, places) if places else None
    except CommandError as error:
        why = error.message
    return _answered(
        asked,
        text,
        tables=[*map(_changes, changes), *([_outcome(again, new)] if again else [])],
        changes=changes,
        breaking=sum(change.breaking for each in changes for change in each.changes),
        tasks=tasks,
        again=again,
        facts=_facts(again) if again else [],
        why=why,
    )


ROUTES: Final = (route("/change", page), route("/change", tried, methods=("POST",)))


def _must_read(asked: Asked, contract: HandoffContract, registered: Registered) -> None:
    receiver = registered.receivers.get(contract.to.receiver)
    team = receiver.team if receiver is not None else None
    asked.must("reader", contract.workflow, contract.from_.team, team)


def _answered(asked: Asked, text: str, status: int = 200, **found: Any) -> Response:
    nothing: dict[str, Any] = {
        "problems": [], "changes": [], "breaking": 0, "tasks": 0, "again": None, "why": None,
        "facts": [],
    }  # fmt: skip
    return render(
        asked,
        "change.html",
        "What would a change do?",
        here="/contracts",
        status=status,
        text=text,
        most_characters=trying.MOST_CHARACTERS,
        **{**nothing, **found},
    )


def _changes(each: ComparedContract) -> Table:
    rows = [
        row(
            str(number),
            Cell("yes" if change.breaking else "no", mark="bad" if change.breaking else "good"),
            ", ".join(change.breaks),
            change.at,
            change.what,
            Cell(change.reason),
        )
        for number, change in enumerate(sorted(each.changes, key=lambda c: not c.breaking))
    ]
    versions = " → ".join(f"@{v}" for v in (each.old_version, each.new_version) if v is not None)
    notes = []
    if each.version_must_rise:
        notes = [
            f"Raise the version to {(each.old_version or 0) + 1}: a registered version never "
            "changes but in its status."
        ]
    return Table(
        f"changes-{each.id}",
        f"{each.id} {versions}: {each.change}",
        [Column("Breaks"), Column("For the"), Column("At"), Column("Change"),
         Column("Why", "words")],
        rows,
        "Nothing is another one: it says the same as what is registered.",
        notes=notes,
    )  # fmt: skip


def _outcome(again: JudgedAgain, new: Documents) -> Table:
    found = again.difference
    workflow = new.contracts[0].workflow if len({c.workflow for c in new.contracts}) == 1 else None
    return Table(
        "outcome",
        "The newest handoffs, judged by it",
        [Column("What"), Column("Kind"), Column("At"), Column("Handoffs", "number"),
         Column("Errors", "number"), Column("For example")],
        list(_rows(found, workflow)),
        "None of them would go another way.",
    )  # fmt: skip


def _facts(again: JudgedAgain) -> list[tuple[str, str]]:
    found = again.difference
    numbers = found.handoffs
    return [
        ("Handoffs", f"{numbers.before:,} now, {numbers.after:,} with the change"),
        ("Under these contracts", f"{numbers.concerned:,}"),
        ("Newly failing", f"{found.newly_failing.handoffs:,}"),
        ("Newly held", f"{found.newly_held.handoffs:,}"),
        ("Newly passing", f"{found.newly_passing.handoffs:,}"),
        ("Fidelity", f"{percent(found.fidelity.before)} → {percent(found.fidelity.after)}"),
        (
            "Completeness",
            f"{percent(found.completeness.before)} → {percent(found.completeness.after)}",
        ),
    ]


def _rows(found: Difference, workflow: str | None) -> Iterator[Row]:
    yield from _failures("newly fails", found.newly_failing, "bad", workflow)
    yield from _sample("newly held", "", found.newly_held, "bad", workflow)
    yield from _begins("newly begins", found.newly_begun, workflow)
    yield from _failures("newly passes", found.newly_passing, "good", workflow)
    yield from _sample("no longer held", "", found.no_longer_held, "good", workflow)
    yield from _begins("begins no more", found.not_begun, workflow)


def _failures(words: str, found: Failures, mark: str, workflow: str | None) -> Iterator[Row]:
    for each in found.by:
        at = each.field or each.rule
        yield row(
            f"{words}/{each.kind}/{at}", Cell(words, mark=mark),
            Cell(each.kind, cells.kind_in_words(each.kind)), at, each.handoffs, each.errors,
            _example(each.tasks, workflow),
        )  # fmt: skip


def _sample(words: str, what: str, found: Sample, mark: str, workflow: str | None) -> Iterator[Row]:
    if found.handoffs:
        yield row(
            f"{words}/{what}", Cell(words, mark=mark), what, None, found.handoffs, None,
            _example(found.tasks, workflow),
        )  # fmt: skip


def _begins(words: str, found: list[Begins], workflow: str | None) -> Iterator[Row]:
    for each in found:
        yield from _sample(words, each.begun, Sample(each.handoffs, each.tasks), "info", workflow)


def _example(tasks: list[str], workflow: str | None) -> Cell:
    first = next(iter(tasks), None)
    return Cell(first, href=task_url(first, workflow) if first else None)
