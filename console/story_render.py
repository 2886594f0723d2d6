"""A task's story for people: timeline, handoffs, a grid of field by hop, violations, the owner."""

from collections.abc import Iterator
from datetime import datetime

from rich.console import RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from console import story
from console.hops import OPTIONAL, PASSED_BY, Hop, Promise
from console.render import SEVERITY_STYLE, clock, percent, shown
from console.story import TaskStory
from schemas.printable import plain

# So many handoffs stand beside each other in the grid.
_ABREAST = 5
_GOOD = {"arrived": "✓", "translated": "✓", "gathered": "✓"}
_BACK = {"rebuilt": "↺", "late": "↺", "amended": "✎", "extra": "+"}


def rendered(told: TaskStory, now: datetime) -> Iterator[RenderableType]:
    """The story in parts, then those of the tasks that it is linked with, and what became of the
    fields under all these names; `now` says which deadlines have passed."""
    yield from _one(told, now, alone=not told.linked)
    names = [told, *told.linked]
    for other in told.linked:
        yield Rule(
            Text(
                f"and under another name: {plain(other.task_id)} ({plain(other.workflow)})", "bold"
            ),
            align="left",
        )
        yield from _one(other, now, alone=False)
    if told.linked and any(each.handoffs for each in names):
        yield _heading("fields, hop by hop, over all its names")
        yield from _grid(names)


def _one(told: TaskStory, now: datetime, alone: bool) -> Iterator[RenderableType]:
    yield Text.assemble(
        "task ", (plain(told.task_id), "bold"), "  workflow ", (plain(told.workflow), "bold")
    )
    yield _heading("what happened (UTC)")
    yield _timeline(told)
    if told.handoffs:
        yield _heading("handoffs")
        yield _handoffs(told)
    if told.handoffs and alone:
        yield _heading("fields, hop by hop")
        yield from _grid([told])
    if told.violations:
        yield _heading("violations")
        yield _violations(told)
    yield _heading("who owns it now")
    yield from _owners(told, now, alone)


def _heading(words: str) -> Rule:
    return Rule(Text(words, "bold"), align="left", style="dim")


def _rows(*columns: int | None) -> Table:
    """A borderless table; a column is as wide as said, or takes what is left."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for width in columns:
        table.add_column(min_width=width, overflow="fold")
    return table


# --- what happened ------------------------------------------------------------------------------


def _timeline(told: TaskStory) -> Table:
    table = _rows(19, 9, None)
    hops = {each.id: each for each in told.handoffs}
    before = ""
    for entry in told.timeline:
        at = f"{entry.at:%Y-%m-%d %H:%M:%S}"
        label, text = _entry(entry, hops)
        table.add_row(Text("" if at == before else at, "dim"), label, text)
        before = at
    return table


def _entry(entry: story.Entry, hops: dict[str, Hop]) -> tuple[Text, Text]:
    match entry:
        case story.Captured():
            return Text("output", "bold"), _captured(entry).append(_refused(entry.refused))
        case story.PublishedRevision():
            held = entry.disposition == "held"
            style = "red" if held else "green"
            return Text(f"hop {entry.hop}", style), _published(entry, style)
        case story.Broke() if entry.status == "resolved":
            return Text("resolved", "green"), Text(f"{entry.kind}: {plain(entry.message)}")
        case story.Broke():
            style = SEVERITY_STYLE.get(entry.severity, "")  # type: ignore[call-overload]
            return Text(entry.severity, style), Text(f"{entry.kind}: {plain(entry.message)}")
        case story.SignalSent():
            late = ", late" if entry.late else ""
            to = plain(entry.to_team or "the originator")
            words = f"{entry.kind}{late}, to {to}: {plain(entry.message)}"
            return Text("signal", "cyan"), Text(words)
        case story.Acked():
            words = f"{plain(entry.by)} says {entry.status}{_about(entry.handoff_id, hops)}"
            text = Text(words + _because(entry.reason))
            return Text("ack", "bold"), text.append(_refused(entry.refused))
        case story.Amended():
            what = {
                "set": f"sets {_listed(entry.names)}",
                "redirect": f"sends it on to {plain(entry.to or 'another receiver')}",
                "release": "releases it",
            }
            words = f"{plain(entry.by)} {what.get(entry.action, 'discards it')}"
            words += _about(entry.handoff_id, hops) + _because(entry.reason)
            return Text(entry.action, "bold magenta"), Text(words).append(_refused(entry.refused))
        case story.Unread():
            place = f"{entry.topic}/{entry.partition}/{entry.offset}"
            if entry.refused is None:
                return Text("unread", "red"), Text(f"{place} is not what the topic holds")
            why = f"became a dead letter ({plain(entry.refused)}): handoff dead-letters list"
            return Text("unread", "red"), Text(f"{place} {why}")


def _captured(entry: story.Captured) -> Text:
    team = f" ({plain(entry.team)})" if entry.team else ""
    stage = f"{plain(entry.stage)}/" if entry.stage else ""
    words = [f"{stage}{plain(entry.tool)}{team}"]
    if entry.names:
        named = [
            f"{name}={shown(entry.values[name])}" if name in entry.values else name
            for name in entry.names
        ]
        words.append(f"captured {_listed(named)}")
    if entry.retracted:
        words.append(f"took back {_listed(entry.retracted)}")
    if entry.handed_to:
        words.append(f"handed off to {_listed(entry.handed_to)}")
    if len(words) == 1:
        words.append("brought nothing")
    if entry.of_others:
        words.append("from another team than the receiver's, so it accepts and moves nothing")
    if entry.repeat:
        words.append("a repeat, which counts once")
    return Text(": ".join((words[0], "; ".join(words[1:]))))


def _published(entry: story.PublishedRevision, style: str) -> Text:
    begun = "" if entry.begun == "declared" else f", {entry.begun}"
    again = f", revision {entry.revision}" if entry.revision > 1 else ""
    verb = "held, for" if entry.disposition == "held" else "sent to"
    text = Text.assemble((f"{verb} {plain(entry.receiver)}", style), f"{again}{begun}")
    if entry.absent:
        text.append(f", on handoff.packages alone ({entry.absent})", "bold red")
    if entry.overridden:
        text.append(", overridden", "magenta")
    if entry.backfill:
        text.append(", backfill", "dim")
    fields = [f"{count} {way.replace('_', ' ')}" for way, count in entry.how.items()]
    text.append(f": {', '.join(fields) or 'no field'}")
    if entry.missing:
        text.append(f"; missing {_listed(entry.missing)}")
    return text


def _listed(names: list[str]) -> str:
    return ", ".join(map(plain, names))


def _about(handoff: str | None, hops: dict[str, Hop]) -> str:
    if handoff is None:
        return " of the open handoff"
    found = hops.get(handoff)
    return f" (hop {found.hop})" if found else f" of {plain(handoff)}"


def _refused(reason: str | None) -> Text:
    words = f"; became a dead letter ({plain(reason)}), nothing followed" if reason else ""
    return Text(words, "red")


def _because(reason: str | None) -> str:
    return f": {plain(reason)}" if reason else ""


# --- handoffs and fields ------------------------------------------------------------------------


def _state(each: Hop) -> Text:
    style = "red" if each.state in ("held", "rejected", "expired", "discarded") else "green"
    text = Text(each.state, style if each.state != "superseded" else "dim")
    if each.stalled:
        text.append(", stalled", "bold red")
    return text


def _handoffs(told: TaskStory) -> Table:
    headings = ("hop", "from → to", "contract", "state", "arrived", "gets", "id")
    table = Table(*headings, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in table.columns:
        column.overflow = "fold"
    table.columns[-1].no_wrap = True  # it is there to be copied
    for each in told.handoffs:
        contract = "none" if each.contract is None else f"{each.contract}@{each.contract_version}"
        table.add_row(
            Text(str(each.hop)),
            Text(plain(each.edge)),
            Text(plain(contract)),
            _state(each),
            Text(percent(each.fidelity)),
            Text(percent(each.completeness)),
            Text(plain(each.id), "dim"),
        )
    return table


def _grid(names: list[TaskStory]) -> Iterator[Table]:
    """What became of each field at each handoff of a task, under all its names, in their order."""
    begun: dict[str, datetime] = {}
    for told in names:
        for entry in told.timeline:
            if isinstance(entry, story.PublishedRevision):
                begun.setdefault(entry.handoff_id, entry.at)
    hops = [(told, each) for told in names for each in told.handoffs]
    if len(names) > 1:
        hops.sort(key=lambda pair: begun[pair[1].id])
    fields = dict.fromkeys(name for told in names for name in told.fields)
    for start in range(0, len(hops), _ABREAST):
        these = hops[start : start + _ABREAST]
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("field", overflow="fold")
        for told, each in these:
            whose = f"{plain(told.task_id)}: " if len(names) > 1 else ""
            table.add_column(Text(f"{whose}{each.hop} {plain(each.edge)}"), overflow="fold")
        for name in fields:
            cells = [each.cells.get(name) for _, each in these]
            if any(cells):
                table.add_row(Text(plain(name)), *map(_cell, cells))
        yield table


def _cell(word: str | None) -> Text:
    if word is None:
        return Text("·", "dim")
    if word == OPTIONAL:
        return Text(f"· {word}", "dim")
    if word == PASSED_BY:
        return Text(f"✗ {word}", "yellow")
    if word in _GOOD:
        return Text(f"{_GOOD[word]} {word}", "green")
    if word in _BACK:
        return Text(f"{_BACK[word]} {word}", "dim" if word == "extra" else "cyan")
    return Text(f"✗ {word}", "red")


# --- violations and owners ----------------------------------------------------------------------


def _violations(told: TaskStory) -> Table:
    table = _rows(8, 6, None)
    for each in sorted(told.violations, key=lambda each: each.status == "resolved"):
        open_ = each.status == "opened"
        style = SEVERITY_STYLE.get(each.severity, "") if open_ else "green"  # type: ignore[call-overload]
        hop = "" if each.hop is None else f"hop {each.hop}"
        # An ack or amendment that met no open handoff is answered by it: nothing will resolve it.
        label = "noted" if each.kind == "unknown_handoff" else "open" if open_ else "resolved"
        table.add_row(Text(label, style), Text(hop), _promise(each))
    return table


def _promise(each: Promise) -> Text:
    what = each.field or each.rule
    text = Text.assemble((each.kind, "bold"), f" {plain(what)}" if what else "")
    text.append(f": {plain(each.message)}")
    if each.reason:
        text.append(f" Reason: {plain(each.reason)}.", "dim")
    if each.lost_at:
        text.append(
            f" Last carried by hop {each.last_seen_hop}; lost at {_listed(each.lost_at)}.", "yellow"
        )
    if each.status == "resolved":
        at = f" at {clock(each.resolved_at)}" if each.resolved_at else ""
        text.append(f" Resolved{at}{_because(each.resolution)}.", "green")
    return text


def _owners(told: TaskStory, now: datetime, alone: bool) -> Iterator[Text]:
    hops = {each.id: each for each in told.handoffs}
    for handoff in told.open:
        yield _owner(hops[handoff], now)
    if told.open:
        return
    if not told.handoffs:
        stage = plain(told.last_stage or "an unknown stage")
        team = f" (team {plain(told.last_team)})" if told.last_team else ""
        # A handoff over a link is that of the task which goes on.
        never = "It was never handed off" if alone else "No handoff is open under this name"
        yield Text(f"{never}: it is at {stage}{team}.")
        return
    last = told.handoffs[-1]
    stage = f"; it was last worked on at {plain(told.last_stage)}" if told.last_stage else ""
    yield Text.assemble(
        f"No handoff is open. The last one, hop {last.hop} ({plain(last.edge)}), is closed: ",
        _state(last),
        f"{stage}.",
    )


def _owner(each: Hop, now: datetime) -> Text:
    who = plain(each.owner) if each.owner else "nobody"
    if each.owner_contact:
        who += f" <{plain(each.owner_contact)}>"
    text = Text.assemble((f"hop {each.hop}: ", "dim"), (who, "bold" if each.owner else "bold red"))
    team = f" of {plain(each.to_team)}" if each.to_team else ""
    text.append(f"{team} ({plain(each.receiver)}), ")
    text.append_text(_state(each))
    dues = [("complete", each.complete_by)]
    if each.state == "held":
        dues = []
        text.append(f", so it still lies with {plain(each.from_team or each.from_stage)}")
        text.append(f"; to act: {_listed(each.to_act) or 'nobody is named'}")
    elif each.absent:
        text.append(f"; it is on handoff.packages alone: {each.absent}", "bold red")
    if each.state == "sent":
        dues.insert(0, ("accept", each.accept_by))
    for word, due in dues:
        if due is not None:
            passed = due <= now
            text.append(
                f"; {word} by {clock(due)}{', passed' if passed else ''}", "red" if passed else ""
            )
    text.append(f"\n    {plain(each.id)}", "dim")
    return text
