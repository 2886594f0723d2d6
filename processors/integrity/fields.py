"""Judges each declared field of a handoff: what arrived, what was lost, what can be rebuilt.

This is the table of docs/contracts.md, row by row. Nothing is published here: a `FieldResult` says
what was found, and `assemble` gathers the results of a contract.
"""

from collections.abc import Collection, Iterator

from msgspec import Struct
from msgspec.structs import replace

from processors.contracts import cut, values
from processors.contracts.compiled import Contract, Field, undeclared
from processors.contracts.telling import Secrets
from processors.integrity.candidates import Candidate, Candidates, Search
from processors.integrity.context import Carried
from processors.integrity.events import EventRef, TaskEvent
from processors.integrity.near import NearNames, member_like
from processors.integrity.secrets import TaskSecrets
from processors.integrity.state import PackageField
from processors.integrity.texts import is_searched
from schemas.paths import Path
from schemas.records import How, ViolationKind

_MAX_SEARCHED = 16  # values of a field that are looked for in texts, the latest ones
_LONG = 64 << 10  # bytes of a context
_REFUSALS = {"untranslatable": "untranslatable", "context_malformed": "malformed"}


class FieldResult(Struct, frozen=True, gc=False):
    """What became of a declared field. `value` and `how` are None where the package goes without.

    `source` is the sender's top-level name, `took` the name whose whole value the field used up.
    `held` is what the task held of it before this handoff, if anything, `last_hop` the last handoff
    that carried it, and `passed_over` how many later values did not fit. `kind` is the violation,
    `refusal` why a rebuild was refused, or what was wrong where it was not, `found_in` the string
    that holds the value, None where its name must not be told. `near` is a name at hand that looks
    like the field's. `lengths` are those of a value that was cut, and of the whole.
    """

    field: Field
    value: bytes | None
    how: How | None
    source: str
    held: Candidate | None
    candidates: int
    took: str | None = None
    last_hop: int = 0
    passed_over: int = 0
    kind: ViolationKind | None = None
    refusal: str | None = None
    found_in: str | None = None
    near: str | None = None
    lengths: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The receiver's name of the field."""
        return self.field.name

    @property
    def rebuilt(self) -> bool:
        """Whether the receiver has the value although the sender lost it."""
        return self.how == "rebuilt"

    def packed(self, source: EventRef) -> PackageField | None:
        """The value with the event that it came with; the output where it is the sender's own."""
        if self.value is None or self.how is None:
            return None
        own = self.held is None or self.how == "as_sent"
        ref = source if self.held is None or own else self.held.ref
        return PackageField(
            self.value, self.how, ref, self.candidates, passed_over=self.passed_over
        )


class Present(Struct, frozen=True, gc=False):
    """A value in the handoff's own context: the path that led there, and what it begins at."""

    path: Path
    value: bytes
    top: str
    took: str | None
    empty: bool


class AssembledContext(Struct, frozen=True, gc=False):
    """A whole context, judged: `values` holds declared fields in order, then the extras.

    What is said of a field is a finding: `broken` are those with a violation, and `moved` those
    whose value reached the package under another name or in another form than it was sent in, or
    was not sent at all.
    """

    values: dict[str, PackageField]
    broken: list[FieldResult]
    moved: list[FieldResult]
    missing: list[str]
    rebuilt: int  # how many declared fields were
    fidelity: float | None


def assemble(
    contract: Contract | None,
    context: Carried,
    search: Search,
    source: EventRef,
    gathered: bool = False,
) -> AssembledContext:
    """Judge a handoff's own context against a contract and what the task held before.

    Without a contract the whole context is extra, and fidelity is None. Where what the
    task holds is `gathered`, nobody sent a context: that counts as what arrived.
    """
    kept: dict[str, PackageField] = {}
    if contract is None:
        _add_extras(kept, context, set(), search, source)
        return AssembledContext(
            values=kept, broken=[], moved=[], missing=[], rebuilt=0, fidelity=None
        )
    broken: list[FieldResult] = []
    moved: list[FieldResult] = []
    taken: set[str] = set()
    missing: list[str] = []
    rebuilt = 0
    secrets: Secrets | None = None
    near: NearNames | None = None
    arrived = {} if gathered else context.values
    said = search.said
    for field in contract.fields:
        # The most frequent case, of which there is nothing to say: a field that arrived under its
        # own name as the contract asks for it, new or as the task had it.
        name = field.name
        value = arrived.get(name)
        if value is not None and (value[:2] in field.sure or _as_asked(field, value)):
            alone = said.get(name)
            if alone is not None and alone[0] == value and len(field.tops) == 1:
                kept[name] = PackageField(value, "arrived", alone[1], 1)
                continue
            ref, candidates = search.alone(field, value, source), 1
            if ref is None and not field.stable:
                one, candidates = _held(search.candidates(field), value)
                ref = None if one is None else one.ref
            if ref is not None:
                kept[name] = PackageField(value, "arrived", ref, candidates)
                continue
        finding = _gather(field, search) if gathered else judge(field, context, search, source)
        if finding.took is not None:
            taken.add(finding.took)
        if finding.kind == "never_captured":
            if near is None:
                near = NearNames(_undeclared(contract, context, search))
            like = near.to([path.name for path in field.paths]) or _member(field, context, search)
            if like is not None and _told_as(like, contract, search) == like:
                secrets = secrets or _secrets(contract, context, search)
                finding = replace(finding, near=None if secrets.tells(like) else like)
        if finding.found_in is not None:
            secrets = secrets or _secrets(contract, context, search)
            place = _told_as(finding.found_in, contract, search)
            finding = replace(finding, found_in=secrets.place(place, context.values))
        if finding.kind is not None:
            broken.append(finding)
        packed = finding.packed(source)
        if packed is None:
            missing.append(field.name)
            continue
        kept[field.name] = packed
        if finding.rebuilt:
            rebuilt += 1
            moved.append(finding)
        elif (gathered or finding.took != field.name or finding.how == "translated") and not (
            finding.how == "as_sent" and values.is_empty(packed.value)
        ):
            moved.append(finding)
    fidelity: float | None = 1.0
    if broken:
        fidelity = share(contract, kept.keys() - {finding.name for finding in broken})
    if not contract.strip:
        taken.update(contract.fields_by_name)
        if not taken.issuperset(context.values):
            _add_extras(kept, context, taken, search, source)
    return AssembledContext(
        values=kept, broken=broken, moved=moved, missing=missing, rebuilt=rebuilt, fidelity=fidelity
    )


def _undeclared(contract: Contract, context: Carried, search: Search) -> Iterator[str]:
    """The names at hand that the contract does not give."""
    given = {name for field in contract.fields for name in (field.name, *field.tops)}
    for name in (*context.values, *search.names()):
        if name not in given and name not in context.empty:
            yield name


def _member(field: Field, context: Carried, search: Search) -> str | None:
    """The path to a member at hand that looks like one that the contract gives."""
    said = [event.context for event in reversed(search.events) if isinstance(event, TaskEvent)]
    for path in field.paths:
        name = member_like(path, (context.values, *said))
        if name is not None:
            return name
    return None


def _told_as(place: str, contract: Contract, search: Search) -> str:
    """A dotted name as far as it may be told: not into what is classified."""
    place = contract.classified.cut(place)
    return place if search.classified is None else search.classified.cut(place)


def _secrets(contract: Contract, context: Carried, search: Search) -> Secrets:
    """What must not be told of a context, and of what the task holds."""
    secrets = TaskSecrets(contract.classified).beyond(search.gone).after(search.events)
    there = search.classified
    if there is None or there is contract.classified:
        return secrets.beside(context.values)
    more = TaskSecrets(there).beyond(search.gone).after(search.events)
    return Secrets(secrets.texts(context.values) | more.texts(context.values))


def _as_asked(field: Field, value: bytes) -> bool:
    """Whether a value under the field's own name is what the contract asks for."""
    return (
        field.plain
        and not values.is_empty(value)
        and field.fits(value)
        and not field.is_placeholder(value)
    )


def judge(field: Field, context: Carried, search: Search, source: EventRef) -> FieldResult:
    """One declared field: the row of the table that it falls into."""
    present = present_in(field, context)
    held = search.candidates(field)
    if present is not None and not present.empty:
        return _judge_arrived(field, present, held, search, source.occurred_at)
    if present is not None:
        return _judge_empty(field, present, held, source.occurred_at)
    if held is None:
        return _judge_unknown(field, search)
    found_in = _found_in(held, context)
    kind: ViolationKind = "context_dropped" if found_in is None else "context_unstructured"
    finding = replace(_rebuild(held, source.occurred_at, kind), found_in=found_in)
    if field.required:
        return finding
    # An optional field is rebuilt like any other, and its loss is no violation.
    return replace(finding, kind=None, refusal=None, found_in=None)


def _judge_unknown(field: Field, search: Search) -> FieldResult:
    """Nothing arrived, and the task holds nothing."""
    kind: ViolationKind = "never_captured"
    refusal = None
    if not search.retracted.keys().isdisjoint(field.tops):
        kind = "context_retracted"
    elif search.forgot(field):
        kind, refusal = "context_dropped", "forgotten"
    lost = FieldResult(
        field=field,
        value=None,
        how=None,
        source=field.name,
        held=None,
        candidates=0,
        kind=kind,
        refusal=refusal,
    )
    return lost if field.required else replace(lost, kind=None, refusal=None)


def _gather(field: Field, search: Search) -> FieldResult:
    """A field of a handoff that the processor itself began: what the task holds counts as sent."""
    held = search.candidates(field)
    if held is None:
        return _judge_unknown(field, search)
    best = held.best
    if best is not None and best.value is None:
        kind: ViolationKind | None = "context_dropped" if field.required else None
        return _of(held, best, kind=kind, refusal="not_kept")
    if best is not None:
        return _of(held, best, value=best.ours, how="gathered")
    newest = held.newest
    assert newest is not None
    assert newest.value is not None
    _, kind = field.in_their_terms(newest.value)
    return _of(held, newest, value=newest.value, how="as_sent", kind=kind)


def _of(
    held: Candidates,
    one: Candidate,
    value: bytes | None = None,
    how: How | None = None,
    kind: ViolationKind | None = None,
    refusal: str | None = None,
) -> FieldResult:
    """What became of a field of which `one` is held."""
    return FieldResult(
        field=held.field,
        value=value,
        how=how,
        source=one.top,
        held=one,
        candidates=held.count(one),
        last_hop=held.last_hop,
        passed_over=held.passed_over(one),
        kind=kind,
        refusal=refusal,
    )


def well_formed(field: Field, value: bytes) -> bytes | None:
    """A value in the receiver's terms, None where it is not what the contract asks for."""
    if values.is_empty(value):
        return None
    ours, kind = field.in_their_terms(value)
    return ours if kind is None else None


class Late(Struct, frozen=True, gc=False):
    """A value that a task learnt after the handoff that misses it."""

    value: bytes
    held: Candidate
    candidates: int
    passed_over: int

    def packed(self) -> PackageField:
        """The value as a package carries it."""
        return PackageField(
            self.value, "late", self.held.ref, self.candidates, passed_over=self.passed_over
        )


def learnt(field: Field, search: Search) -> Late | None:
    """What the task knows of a missing field by now, where it is what the contract asks for."""
    held = search.candidates(field)
    best = None if held is None else held.best
    if held is None or best is None or best.ours is None:
        return None
    return Late(best.ours, best, held.count(best), held.passed_over(best))


def share(contract: Contract | None, held: Collection[str]) -> float | None:
    """The weight of the required fields that are `held` / the weight of all required fields."""
    if contract is None:
        return None
    have = 0.0
    for name, weight in contract.weights.items():
        if name in held:
            have += weight
    return have / contract.total_weight if contract.total_weight else 1.0


def _judge_empty(
    field: Field, present: Present, held: Candidates | None, occurred_at: int
) -> FieldResult:
    """Present but empty: the sender has the place for it and put nothing there."""
    kind: ViolationKind | None = "context_empty" if field.required else None
    if held is not None:
        finding = _rebuild(held, occurred_at, "context_empty")
        finding = replace(finding, took=present.took, kind=kind)
        if finding.refusal != "not_allowed":
            return finding  # rebuilt, or refused for a doubt: then the field is missing
        return replace(finding, value=present.value, how="as_sent")
    return FieldResult(
        field=field,
        value=present.value,
        how="as_sent",
        source=present.top,
        held=None,
        candidates=1,
        took=present.took,
        kind=kind,
    )


def _judge_arrived(
    field: Field, present: Present, held: Candidates | None, search: Search, occurred_at: int
) -> FieldResult:
    """It is there. The same value as before, however it is spelled, is no news; then it may be a
    placeholder, a cut copy, or in a wrong shape."""
    value, took = present.value, present.took
    one, candidates = _held(held, value)
    ours, kind = field.in_their_terms(value)
    if one is None or kind is not None:
        spoilt = _spoilt(field, present, held, search=search, occurred_at=occurred_at, wrong=kind)
        if spoilt is not None:
            return replace(spoilt, took=took)
    finding = FieldResult(
        field=field,
        value=value,
        how="arrived",
        source=present.top,
        held=one,
        candidates=candidates,
        took=took,
        last_hop=0 if held is None else held.last_hop,
    )
    if kind is not None:
        return replace(finding, how="as_sent", kind=kind)
    if field.stable and held is not None:
        before = held.carried or held.first
        if before is not None and before is not one and not _says(held, before, value):
            return replace(finding, how="as_sent", kind="context_changed", held=before)
    return finding if ours == value else replace(finding, value=ours, how="translated")


def _says(held: Candidates, before: Candidate, value: bytes) -> bool:
    return before.value is None or held.key(before.value) == held.key(value)


def _spoilt(
    field: Field,
    present: Present,
    held: Candidates | None,
    search: Search,
    occurred_at: int,
    wrong: ViolationKind | None,
) -> FieldResult | None:
    """A value that is not what the task holds, and says no more than that: a placeholder, a cut
    copy, the same in a shape that is `wrong`."""
    value = present.value
    # Where nothing but placeholders was ever said, they are values.
    knows = search.emptied(field) if held is None else bool(held.field.placeholders)
    if knows and field.is_placeholder(value):
        if held is None:
            return _judge_unknown(field, search)
        finding = _judge_empty(field, present, held, occurred_at)
        return replace(finding, refusal=finding.refusal or "placeholder")
    if held is None:
        return None
    whole = held.whole(value)
    if whole is not None and whole.value is not None:
        finding = _rebuild_from(held, whole, occurred_at, "context_shortened")
        if not finding.rebuilt:
            finding = replace(finding, value=value, how="as_sent", source=present.top)
        return replace(finding, lengths=(cut.length(value), cut.length(whole.value)))
    same = held.respelled(value) if wrong == "context_malformed" else None
    if same is not None:
        finding = _of(held, same, same.ours, how="rebuilt", kind=wrong, refusal="respelled")
        return replace(finding, passed_over=0)
    return None


def _held(held: Candidates | None, value: bytes) -> tuple[Candidate | None, int]:
    """The latest that said what was sent, if anything did, and how many values there are with
    it."""
    if held is None or held.newest is None:
        return None, 1
    same, fits = held.same(value)
    new = same is None and fits and not values.is_empty(value)
    return same, held.count(held.newest) + new


def present_in(field: Field, context: Carried) -> Present | None:
    """The first path whose value is neither empty nor a placeholder, or else the first at all."""
    first: Present | None = None
    for path in field.paths:
        value, top = values.at(context.values, path)
        if value is None:
            continue
        took = top if top == path.name or not path.rest else None
        present = Present(path, value, top, took, values.is_empty(value))
        if not present.empty and not field.is_placeholder(value):
            return present
        first = first or present
    return first


def _rebuild(held: Candidates, occurred_at: int, kind: ViolationKind) -> FieldResult:
    """Fill a lost field from what the task holds, or say why that is refused.

    The latest value that fits is taken. A wrong value is worse than none, so every doubt refuses.
    """
    one = held.best or held.newest
    assert one is not None
    return _rebuild_from(held, one, occurred_at, kind)


def _rebuild_from(
    held: Candidates, one: Candidate, occurred_at: int, kind: ViolationKind
) -> FieldResult:
    field = held.field
    lost = _of(held, one, kind=kind)
    if not field.rebuild:
        return replace(lost, refusal="not_allowed")
    if one.value is None:
        return replace(lost, refusal="not_kept")
    ours, wrong = field.in_their_terms(one.value)
    if wrong is not None:
        return replace(lost, refusal=_REFUSALS[wrong])
    if field.max_age is not None and occurred_at - one.ref.occurred_at > field.max_age:
        return replace(lost, refusal="too_old")
    if field.unambiguous and lost.candidates > 1:
        return replace(lost, refusal="ambiguous")
    return replace(lost, value=ours, how="rebuilt")


def _found_in(held: Candidates, context: Carried) -> str | None:
    """The name of the string in the handoff's own context that holds a scalar's text, or words that
    say it.

    Where the task has held several values, the one that the sender wrote of need not be the last.
    Of the others only those count that more than letters make: "economy" stands in "basic economy"
    by chance. In long texts they are not looked for.
    """
    texts = context.texts()
    most = _MAX_SEARCHED if context.size <= _LONG else 1
    for number, one in enumerate(held.latest_first()[:most]):
        if one.value is None:
            continue
        text = values.scalar_text(one.value)
        if text is None or not is_searched(text) or (number and text.isalpha()):
            continue
        found = texts.where(text, held.field.folded)
        if found is None and held.field.words is not None:
            found = texts.says(held.field.words, one.value)
        if found is not None:
            return found
    return None


def _add_extras(
    kept: dict[str, PackageField],
    context: Carried,
    taken: set[str],
    search: Search,
    source: EventRef,
) -> None:
    """The names of the handoff's context whose whole value no declared field took."""
    for name, value in context.values.items():
        if name in taken:
            continue
        ref = search.alone(undeclared(name), value, source)
        candidates = 1
        if ref is None:
            one, candidates = _held(search.under(name), value)
            ref = source if one is None else one.ref
        kept[name] = PackageField(value, "extra", ref, candidates)
