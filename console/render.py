"""Packages, violations, signals and dead letters as a person wants to read them.

Classified values are masked (`console/masking.py`). Everything that came from a record is put on
the terminal as plain text: what is not printable is replaced, and nothing is read as markup.
"""

import errno
import math
import os
from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime

import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.panel import Panel
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from console.masking import MASK, PackageMask
from console.violation_ids import promises
from processors.contracts.classified import (
    Classified,
    Named,
    Outline,
    classify,
    fields_of,
    leading_to,
)
from processors.integrity.handoff import HOLD_WITHOUT_CONTRACT
from schemas.documents import HandoffContract
from schemas.printable import listed, plain, plain_lines
from schemas.records import (
    DeadLetter,
    Package,
    Pattern,
    Provenance,
    Severity,
    Signal,
    Violation,
)
from schemas.unreadable import UNREADABLE

_WIDEST_VALUE = 24
_NOTHING = Classified()
SEVERITY_STYLE: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_HOW = {
    "arrived": ("✓", "green", "arrived"),
    "translated": ("✓", "green", "arrived, translated"),
    "as_sent": ("!", "yellow", "as sent"),
    "extra": ("+", "dim", "extra"),
    "rebuilt": ("↺", "cyan", "rebuilt"),
    "gathered": ("✓", "green", "gathered"),
    "late": ("↺", "cyan", "came late"),
    "amended": ("✎", "magenta", "amended"),
}
HOW_WORDS = {how: words for how, (_, _, words) in _HOW.items()}


HELD_FOR = {
    "receiver_missing": "its receiver is not registered, retired, or has no queue topic",
    "receiver_silent": "nobody reads for its receiver",
    "receiver_mismatch": "it names another receiver than its contract",
    "owner_missing": "no owner of its receiver is in force",
    "contract_missing": "no contract covers it",
    "never_captured": "no tool captured it",
    "context_dropped": "dropped on the way",
    "context_empty": "sent empty",
    "context_unstructured": "sent only in words",
    "context_shortened": "cut on the way",
    "context_changed": "changed on the way",
    "context_malformed": "not of the shape that the contract asks for",
    "context_retracted": "taken back",
    "untranslatable": "in a term that the contract does not translate",
    "rule_failed": "the rule does not hold",
}


class _Terminal(Console):
    """Passes on what is printable, and line feeds; what makes the colours is added behind this."""

    def on_broken_pipe(self) -> None:
        """Nobody reads any more: for who prints to say; Rich would end the process."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of a renderable."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=plain_lines(segment.text))


def console(*, stderr: bool = False) -> Console:
    """The terminal; 100 columns where there is none, so that pipes and logs read well."""
    terminal = _Terminal(stderr=stderr, highlight=False)
    if not terminal.is_terminal:
        terminal = _Terminal(stderr=stderr, highlight=False, width=100)
    return terminal


class Contracts:
    """What the registered contracts say about showing a package: what is masked, and what holds it.

    Every registered contract of a workflow counts, whatever its status; so do those that cannot be
    used (`unusable`), as far as they classify anything.
    """

    def __init__(
        self, contracts: Iterable[HandoffContract], unusable: Iterable[Outline] = ()
    ) -> None:
        self._hold_on: dict[str, frozenset[str]] = {}
        fields: dict[str, list[Named]] = defaultdict(list)
        contracts = list(contracts)
        for contract in contracts:
            self._hold_on[f"{contract.id}@{contract.version}"] = frozenset(contract.hold_on)
            fields[contract.workflow] += fields_of(contract)
        for left in unusable:
            fields[left.workflow] += left.named()
        before = leading_to(contracts)
        self._classified = {
            workflow: classify([each for name in before(workflow) for each in fields[name]])
            for workflow in {*fields, *(c.to.workflow for c in contracts if c.to.workflow)}
        }
        self._anywhere = classify([each for named in fields.values() for each in named])

    def knows(self, package: Package) -> bool:
        """Whether the contract of a package is at hand; true where it has none."""
        version = f"{package.contract}@{package.contract_version}"
        return package.contract is None or version in self._hold_on

    def classified(self, workflow: str | None) -> Classified:
        """What is classified in a workflow; in any of them, where nobody knows which it is."""
        if workflow is None:
            return self._anywhere
        return self._classified.get(workflow, _NOTHING)

    def mask(self, package: Package, beside: Collection[str] = ()) -> PackageMask:
        """What of a package is shown. `beside` are the texts of classified values of its task that
        are known from elsewhere."""
        return PackageMask(package, self.classified(package.workflow), self.knows(package), beside)

    def holding(self, package: Package) -> list[str]:
        """What holds a held package in words: kinds of violation, each with its fields, and what
        the kind means."""
        found = []
        for kind, fields in self.holders(package).items():
            told = f"{kind} ({listed(fields)})" if fields else kind
            found.append(f"{told}: {HELD_FOR[kind]}" if kind in HELD_FOR else told)
        return found

    def holders(self, package: Package) -> dict[str, list[str]]:
        """What holds a held package: kinds of violation, each with the fields or rules it is about.

        All its violations but those of rebuilt fields, where the contract is not at hand.
        """
        if package.contract is None:
            hold_on = HOLD_WITHOUT_CONTRACT
        else:
            version = f"{package.contract}@{package.contract_version}"
            hold_on = self._hold_on.get(version, frozenset({"any"}))
        found: dict[str, list[str]] = {}
        for kind, field in promises(package.violations):
            origin = package.provenance.get(field)
            rebuilt = origin is not None and origin.how == "rebuilt"
            if not rebuilt and ("any" in hold_on or kind in hold_on):
                found.setdefault(kind, []).extend([field] if field else [])
        return found


def shown(value: msgspec.Raw) -> str:
    """A context value on one short line: a string bare, anything else as JSON."""
    raw = bytes(value)
    try:
        text = msgspec.json.format(raw, indent=-1).decode("utf-8", "replace")
        if text.startswith('"'):
            text = msgspec.json.decode(raw, type=str)
    except UNREADABLE:
        text = raw.decode("utf-8", "replace")
    text = plain(" ".join(text.split()))
    return text if len(text) <= _WIDEST_VALUE else text[: _WIDEST_VALUE - 1] + "…"


def clock(when: datetime | None) -> str:
    """A time in UTC to the minute."""
    return "-" if when is None else f"{when:%Y-%m-%d %H:%M} UTC"


def percent(share: float | None) -> str:
    """A share of 0 to 1 for a person, never rounded up to 100%; a dash where there is none."""
    return "-" if share is None else f"{math.floor(share * 100 + 1e-9)}%"


def package(record: Package, contracts: Contracts, beside: Collection[str] = ()) -> RenderableType:
    """One handoff as a panel: who to whom, by when, each field with its origin, what is missing.

    `beside` are texts of classified values that its task has elsewhere: what tells one is masked.
    """
    mask = contracts.mask(record, beside)
    held = record.disposition == "held"
    sender = f"{record.from_.team or 'unknown team'} · {record.from_.stage}"
    to = record.to
    title = Text.assemble(
        (plain(sender), "bold"),
        " → ",
        (plain(to.receiver), "bold"),
        f"  task {plain(record.task_id)}",
    )
    return Panel(
        Group(*_facts(record, contracts, mask), _fields(record, mask), *_verdict(record)),
        title=title,
        title_align="left",
        subtitle=Text(_state(record), "bold red" if held else "bold green"),
        subtitle_align="right",
        border_style="red" if held else "green" if not record.violations else "yellow",
    )


def _state(record: Package) -> str:
    words = ["HELD" if record.disposition == "held" else "sent"]
    words += ["as it is"] if record.overridden else []
    words += [f"revision {record.revision}"] if record.revision > 1 else []
    return ", ".join(words)


def _facts(record: Package, contracts: Contracts, mask: PackageMask) -> Iterable[RenderableType]:
    if record.disposition == "held":
        why = "; ".join(map(plain, contracts.holding(record))) or "see its violations"
        # Beside the label, not below it, where a long one wraps.
        row = Table.grid()
        row.add_column(no_wrap=True, min_width=10)
        row.add_column(overflow="fold")
        row.add_row(Text("held for  ", "dim"), Text(why, "bold red"))
        yield row
    if record.disposition == "held" or record.accept_by or record.complete_by:
        # Somebody is to act on it, and the commands want its id.
        yield Text.assemble(("handoff   ", "dim"), plain(record.id))
    if record.begun != "declared":
        why = "nobody declared it" if record.begun == "implicit" else "the contract's 'when'"
        yield Text.assemble(("begun     ", "dim"), f"{record.begun}: {why}")
    if record.action:
        yield Text.assemble(("to do     ", "dim"), plain(record.action))
    owner = record.to.owner
    if owner is None:
        yield Text.assemble(("owner     ", "dim"), ("nobody", "bold red"))
    else:
        contact = f" <{plain(record.to.owner_contact)}>" if record.to.owner_contact else ""
        yield Text.assemble(("owner     ", "dim"), plain(owner), (contact, "dim"))
    if record.accept_by or record.complete_by:
        due = [
            f"{word} by {clock(when)}"
            for word, when in (("accept", record.accept_by), ("complete", record.complete_by))
            if when is not None
        ]
        yield Text.assemble(("deadline  ", "dim"), ", ".join(due))
    if record.contract is None:
        yield Text.assemble(("contract  ", "dim"), ("none", "yellow"))
    else:
        version = f"{plain(record.contract)}@{record.contract_version}"
        yield Text.assemble(("contract  ", "dim"), version)
    if note := mask.note():
        yield Text.assemble(("note      ", "dim"), note)
    if record.backfill:
        yield Text("backfill: no deadline runs", "dim")


def _fields(record: Package, mask: PackageMask) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    table.add_column(width=1)
    table.add_column(overflow="fold", max_width=26)
    table.add_column(overflow="ellipsis", no_wrap=True, max_width=_WIDEST_VALUE)
    table.add_column(overflow="fold")
    hidden, names = mask.hidden(), mask.names()
    for name, value in record.context.items():
        origin = record.provenance.get(name)
        mark, style, way = _HOW[origin.how] if origin else ("?", "dim", "origin unknown")
        table.add_row(
            Text(mark, style),
            Text(plain(names[name])),
            Text(MASK, "dim") if name in hidden else Text(shown(value)),
            Text(way + _source(record, origin), style),
        )
    broken = {about for _, about in promises(record.violations)}
    for name in record.missing:
        # Only optional fields are missing without a violation.
        mark, style, word = (
            ("✗", "bold red", "missing") if name in broken else ("·", "dim", "optional, missing")
        )
        table.add_row(Text(mark, style), Text(plain(name)), Text("-", "dim"), Text(word, style))
    return table


def _source(record: Package, origin: Provenance | None) -> str:
    if origin is None:
        return ""
    if origin.by:
        return f" by {plain(origin.by)}"
    if origin.event_id == record.event_id:
        return ""
    return f" from {plain(origin.stage)}/{plain(origin.tool)}, {_age(record, origin)}"


def _age(record: Package, origin: Provenance) -> str:
    minutes = round((record.occurred_at - origin.occurred_at).total_seconds() / 60)
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes >= size:
            return f"{minutes / size:.0f} {unit} old"
    return f"{minutes} min old" if minutes > 0 else "just before"


def _verdict(record: Package) -> Iterable[Text]:
    if record.fidelity is None:
        yield Text("nothing to measure: no contract says what had to arrive", "dim")
        return
    better = (record.completeness or 0) > record.fidelity
    yield Text.assemble(
        "arrived from the sender ",
        (percent(record.fidelity), "bold green" if record.fidelity == 1 else "bold yellow"),
        "   the receiver gets ",
        (
            percent(record.completeness),
            "bold green" if better or record.completeness == 1 else "bold",
        ),
    )


def violation(record: Violation, *, brief: bool = False) -> RenderableType:
    """One violation: what broke, in one sentence, and who is to act.

    `brief` leaves out the task and who is to act, for where the package stands above it.
    """
    if record.status == "resolved":
        task = "" if brief else f" task {plain(record.task_id)}"
        words = f"{task}: {plain(record.message)}"
        return _hanging(("resolved", "green"), Text.assemble((record.kind, "bold"), words))
    label = (record.severity, SEVERITY_STYLE[record.severity])
    if brief:
        return _hanging(label, Text.assemble((record.kind, "bold"), f": {plain(record.message)}"))
    text = _about(record, plain(record.message))
    acting = f"to act: {plain(record.owner)}" if record.owner else "to act: nobody is named"
    text.append(f"\n{acting}", "dim")
    if record.owner_contact:
        text.append(f" <{plain(record.owner_contact)}>", "dim")
    if record.origin is not None:
        origin = record.origin
        text.append(
            f"; last had by {plain(origin.tool)} at {plain(origin.stage)}"
            f" ({plain(origin.topic)}/{origin.partition}/{origin.offset})",
            "dim",
        )
    return _hanging(label, text)


def _about(record: Violation, words: str) -> Text:
    return Text.assemble((record.kind, "bold"), f" task {plain(record.task_id)}: {words}")


def _hanging(label: tuple[str, str], text: Text) -> RenderableType:
    """A label of ten columns or more, and a text that wraps beside it."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(min_width=10, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(f"  {label[0]}", label[1]), text)
    return grid


def signal(record: Signal) -> RenderableType:
    """One signal: to which team, and what became of its handoff."""
    style = "red" if record.kind in ("held", "stalled", "rejected", "expired") else "green"
    late = "late, " if record.late else ""
    to = f"{late}to {plain(record.to_team or 'the originator')}: "
    return _hanging((record.kind, style), Text.assemble((to, "dim"), plain(record.message)))


def pattern_message(record: Pattern, contracts: Contracts) -> str:
    """Its sentence. A value that was published before a contract classified it is masked."""
    message, classified = record.message, contracts.classified(record.workflow)
    for path, value in (record.values or {}).items():
        if value and classified.covers(path.removeprefix("context.")):
            message = message.replace(f"{path} {value}", f"{path} masked")
    return message


def pattern(record: Pattern, contracts: Contracts) -> RenderableType:
    """One entry of the patterns: what keeps happening, how often, where, and who is to act."""
    message = pattern_message(record, contracts)
    label: tuple[str, str] = (record.severity, SEVERITY_STYLE[record.severity])
    if record.status == "closed":
        label = ("closed", "green")
    times = f"{record.count:,}\N{MULTIPLICATION SIGN} "
    text = Text.assemble((times, "bold"), (record.kind, "bold"), f": {plain(message)}")
    acting = f"to act: {plain(record.owner)}" if record.owner else "to act: nobody is named"
    since = f"{clock(record.first_seen)} to {clock(record.last_seen)}"
    text.append(f"\n{record.status}; {since}; {acting}", "dim")
    if record.tasks:  # none are known of a move
        more = " ..." if len(record.tasks) > 3 else ""
        text.append(f"; tasks {', '.join(map(plain, record.tasks[:3]))}{more}", "dim")
    return _hanging(label, text)


def dead_letter(handle: str, letter: DeadLetter, source: str | None = None) -> RenderableType:
    """One dead letter; `handle` is its place in the dead letters' topic, `source` what to name as
    the place of its input instead of a topic, a partition and an offset."""
    place = source or f"{letter.topic}/{letter.partition}/{letter.offset}"
    text = Text.assemble(
        (plain(letter.exception), "red"),
        f"  {plain(letter.message)}",
        (f"\nfrom {plain(place)}", "dim"),
    )
    return _hanging((handle, "bold"), text)
