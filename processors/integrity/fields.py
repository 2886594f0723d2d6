"""Judges each declared field of a handoff: what arrived, what was lost, what can be rebuilt.

This is the table of docs/contracts.md, row by row. Nothing is published here: a `FieldResult` says
what was found, and `assemble` gathers the results of a contract.
"""

from collections.abc import Collection, Iterator

from msgspec import Struct
from msgspec.structs import replace

from processors.contracts import values
from processors.contracts.compiled import Contract, Field
from processors.contracts.telling import Secrets
from processors.integrity.context import Carried
from processors.integrity.events import EventRef
from processors.integrity.index import MAX_CANDIDATES, Capture, CaptureIndex, Found
from processors.integrity.near import NearNames
from processors.integrity.state import PackageField
from processors.integrity.texts import is_searched
from schemas.paths import Path
from schemas.records import How, ViolationKind

_QUOTE = ord('"')
_REFUSALS = {"untranslatable": "untranslatable", "context_malformed": "malformed"}


class FieldResult(Struct, frozen=True, gc=False):
    """What became of a declared field. `value` and `how` are None where the package goes without.

    `source` is the sender's top-level name, `took` the name whose whole value the field used up.
    `capture` is where the value came from before this handoff, if from anywhere. `kind` is the
    violation, `refusal` why a rebuild was refused, `found_in` the string that holds the value,
    None where its name must not be told. `near` is a name at hand that looks like the field's.
    """

    field: Field
    value: bytes | None
    how: How | None
    source: str
    capture: Capture | None
    candidates: int
    took: str | None = None
    kind: ViolationKind | None = None
    refusal: str | None = None
    found_in: str | None = None
    near: str | None = None

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
        own = self.capture is None or self.how == "as_sent"
        ref = source if self.capture is None or own else self.capture.ref
        return PackageField(self.value, self.how, ref, self.candidates)


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
    index: CaptureIndex,
    source: EventRef,
    gathered: bool = False,
) -> AssembledContext:
    """Judge a handoff's own context against a contract and what the task held before.

    Without a contract the whole context is extra, and fidelity is None. Where the task's captures
    are `gathered`, nobody sent a context: they count as what arrived.
    """
    kept: dict[str, PackageField] = {}
    if contract is None:
        _add_extras(kept, context, set(), index, source)
        return AssembledContext(kept, [], [], [], 0, None)
    broken: list[FieldResult] = []
    moved: list[FieldResult] = []
    taken: set[str] = set()
    missing: list[str] = []
    rebuilt = 0
    secrets: Secrets | None = None
    near: NearNames | None = None
    for field in contract.fields:
        as_asked = None if gathered else _as_asked(field, context, index, source)
        if as_asked is not None:
            kept[field.name] = as_asked
            continue
        finding = _gather(field, index) if gathered else judge(field, context, index, source)
        if finding.took is not None:
            taken.add(finding.took)
        if finding.kind == "never_captured":
            if near is None:
                near = NearNames(_undeclared(contract, context, index))
            name = near.to([path.name for path in field.paths])
            if name is not None:
                if secrets is None:
                    secrets = contract.classified.secrets(index.captures, context.values)
                finding = replace(finding, near=None if secrets.tells(name) else name)
        if finding.found_in is not None:
            if secrets is None:
                secrets = contract.classified.secrets(index.captures, context.values)
            place = contract.classified.cut(finding.found_in)
            finding = replace(finding, found_in=secrets.place(place, context.values))
        if finding.kind is not None:
            broken.append(finding)
        value = finding.packed(source)
        if value is None:
            missing.append(field.name)
            continue
        kept[field.name] = value
        if finding.rebuilt:
            rebuilt += 1
            moved.append(finding)
        elif (gathered or finding.took != field.name or finding.how == "translated") and not (
            finding.how == "as_sent" and values.is_empty(value.value)
        ):
            moved.append(finding)
    fidelity: float | None = 1.0
    if broken:
        fidelity = share(contract, kept.keys() - {finding.name for finding in broken})
    if not contract.strip:
        taken.update(contract.fields_by_name)
        _add_extras(kept, context, taken, index, source)
    return AssembledContext(kept, broken, moved, missing, rebuilt, fidelity)


def _undeclared(contract: Contract, context: Carried, index: CaptureIndex) -> Iterator[str]:
    """The names at hand that the contract does not give."""
    given = {name for field in contract.fields for name in (field.name, *field.tops)}
    for name in (*context.values, *index.captures):
        if name not in given and name not in context.empty:
            yield name


def _as_asked(
    field: Field, context: Carried, index: CaptureIndex, source: EventRef
) -> PackageField | None:
    """The most frequent case, of which there is nothing to say: a field that arrived under its own
    name as the contract asks for it, new or as the task had it. None in all other cases."""
    name = field.name
    value = context.values.get(name)
    if value is None or not field.plain or name in context.empty or not _accepts(field, value):
        return None
    capture = index.captures.get(name)
    if capture is None:
        return PackageField(value, "arrived", source, 1)
    if capture.value == value and capture.alias_of is None:
        return PackageField(value, "arrived", capture.ref, capture.candidates())
    return None


def judge(field: Field, context: Carried, index: CaptureIndex, source: EventRef) -> FieldResult:
    """One declared field: the row of the table that it falls into."""
    occurred_at = source.occurred_at
    present = _present(field, context)
    if present is not None and not present.empty:
        return _judge_arrived(field, present, index)
    found = _captured(field, index)
    if present is not None:
        return _judge_empty(field, present, found, index, occurred_at)
    if found is None:
        return _judge_unknown(field, index)
    found_in = _found_in(found, index, context)
    kind: ViolationKind = "context_dropped" if found_in is None else "context_unstructured"
    finding = replace(_rebuild(field, found, index, occurred_at, kind), found_in=found_in)
    if field.required:
        return finding
    # An optional field is rebuilt like any other, and its loss is no violation.
    return replace(finding, kind=None, refusal=None, found_in=None)


def _judge_unknown(field: Field, index: CaptureIndex) -> FieldResult:
    """Nothing arrived and nothing was captured earlier."""
    retracted = not index.retracted.keys().isdisjoint(field.tops)
    kind: ViolationKind = "context_retracted" if retracted else "never_captured"
    lost = FieldResult(field, None, None, field.name, None, 0, kind=kind)
    return lost if field.required else replace(lost, kind=None)


def _gather(field: Field, index: CaptureIndex) -> FieldResult:
    """A field of a handoff that the processor itself began: the task's capture counts as sent."""
    found = _captured(field, index)
    if found is None:
        return _judge_unknown(field, index)
    candidates = max(index.candidates(found), _distinct(field, index))
    finding = FieldResult(field, found.value, "gathered", found.top, found.capture, candidates)
    if found.value is None:
        kind: ViolationKind | None = "context_dropped" if field.required else None
        return replace(finding, how=None, kind=kind, refusal="not_kept")
    value, kind = _in_their_terms(field, found.value)
    if kind is not None:
        return replace(finding, how="as_sent", kind=kind)
    return replace(finding, value=value)


def _in_their_terms(field: Field, value: bytes) -> tuple[bytes, ViolationKind | None]:
    """A value as the receiver asks for it, and what is wrong with it."""
    if field.translate is not None:
        translated = _translate(field, value)
        if translated is None:
            return value, "untranslatable"
        if not _accepts(field, translated):
            return value, "context_malformed"
        return translated, None
    return value, None if _accepts(field, value) else "context_malformed"


def well_formed(field: Field, value: bytes) -> bytes | None:
    """A value in the receiver's terms, None where it is not what the contract asks for."""
    if values.is_empty(value):
        return None
    ours, kind = _in_their_terms(field, value)
    return ours if kind is None else None


class Late(Struct, frozen=True, gc=False):
    """A value that a task learnt after the handoff that misses it."""

    value: bytes
    capture: Capture
    top: str
    candidates: int

    def packed(self) -> PackageField:
        """The value as a package carries it."""
        return PackageField(self.value, "late", self.capture.ref, self.candidates)


def learnt(field: Field, index: CaptureIndex) -> Late | None:
    """What the task knows of a missing field by now, where it is what the contract asks for."""
    found = _captured(field, index)
    if found is None or found.value is None:
        return None
    value = well_formed(field, found.value)
    if value is None:
        return None
    return Late(value, found.capture, found.top, index.candidates(found))


def share(contract: Contract | None, held: Collection[str]) -> float | None:
    """The weight of the required fields that are `held` / the weight of all required fields."""
    if contract is None:
        return None
    total = have = 0.0
    for field in contract.fields:
        if field.required:
            total += field.weight
            if field.name in held:
                have += field.weight
    return have / total if total else 1.0


def _judge_empty(
    field: Field, present: Present, found: Found | None, index: CaptureIndex, occurred_at: int
) -> FieldResult:
    """Present but empty: the sender has the place for it and put nothing there."""
    kind: ViolationKind | None = "context_empty" if field.required else None
    if found is not None:
        finding = _rebuild(field, found, index, occurred_at, "context_empty")
        finding = replace(finding, took=present.took, kind=kind)
        if finding.refusal != "not_allowed":
            return finding  # rebuilt, or refused for a doubt: then the field is missing
        return replace(finding, value=present.value, how="as_sent")
    return FieldResult(field, present.value, "as_sent", present.top, None, 1, present.took, kind)


def _judge_arrived(field: Field, present: Present, index: CaptureIndex) -> FieldResult:
    value = present.value
    capture, candidates = _held(index, index.look_up(present.path), value)
    finding = FieldResult(field, value, "arrived", present.top, capture, candidates, present.took)
    ours, kind = _in_their_terms(field, value)
    if kind is not None:
        return replace(finding, how="as_sent", kind=kind)
    return finding if ours == value else replace(finding, value=ours, how="translated")


def _held(index: CaptureIndex, earlier: Found | None, value: bytes) -> tuple[Capture | None, int]:
    """The capture that already held a sent value, if one did, and the candidates with it."""
    if earlier is None:
        return None, 1
    candidates = index.candidates(earlier)
    if earlier.value is not None and index.same(earlier.value, value):
        return earlier.capture, candidates
    if not values.is_empty(value) and index.digest(value) not in earlier.capture.hashes:
        candidates = min(candidates + 1, MAX_CANDIDATES)
    return None, candidates


def _accepts(field: Field, value: bytes) -> bool:
    if value[0] not in field.starts:
        return False
    return field.accepts is None or field.accepts(value)


def _present(field: Field, context: Carried) -> Present | None:
    """The first path whose value is not empty, or else the first that is present at all."""
    first: Present | None = None
    for path in field.paths:
        name = path.name
        value = context.values.get(name)
        if value is not None:
            present = Present(path, value, name, name, name in context.empty)
        else:
            top = context.values.get(path.top) if path.rest else None
            value = values.descend(top, path.rest) if top is not None else None
            if value is None:
                continue
            present = Present(path, value, path.top, None, values.is_empty(value))
        if not present.empty:
            return present
        first = first or present
    return first


def _captured(field: Field, index: CaptureIndex) -> Found | None:
    """Of the paths that lead to an earlier value, the one captured last."""
    best: Found | None = None
    for path in field.paths:
        found = index.look_up(path, field.tops)
        if found is not None and (
            best is None or found.capture.ref.occurred_at > best.capture.ref.occurred_at
        ):
            best = found
    return best


def _rebuild(
    field: Field, found: Found, index: CaptureIndex, occurred_at: int, kind: ViolationKind
) -> FieldResult:
    """Fill a lost field from the task's earlier capture, or say why that is refused.

    A wrong value is worse than none, so every doubt refuses.
    """
    candidates = max(index.candidates(found), _distinct(field, index))
    capture = found.capture
    lost = FieldResult(field, None, None, found.top, capture, candidates, kind=kind)
    if not field.rebuild:
        return replace(lost, refusal="not_allowed")
    if found.value is None:
        return replace(lost, refusal="not_kept")
    if field.max_age is not None and occurred_at - capture.ref.occurred_at > field.max_age:
        return replace(lost, refusal="too_old")
    if field.unambiguous and candidates > 1:
        return replace(lost, refusal="ambiguous")
    value, wrong = _in_their_terms(field, found.value)
    if wrong is not None:
        return replace(lost, refusal=_REFUSALS[wrong])
    return replace(lost, value=value, how="rebuilt")


def _distinct(field: Field, index: CaptureIndex) -> int:
    """How many distinct values the field's paths lead to now."""
    if len(field.paths) == 1:
        return 1
    found = (index.look_up(path, field.tops) for path in field.paths)
    return len({values.canonical(f.value) for f in found if f is not None and f.value is not None})


def _translate(field: Field, value: bytes) -> bytes | None:
    """The receiver's term for a value; a term of theirs passes as it is; None for all others."""
    text = values.scalar_text(value)
    if text is None or field.translate is None:
        return None
    translated = field.translate.get(text)
    if translated is not None:
        return translated
    return value if values.canonical(value) in field.terms else None


def _found_in(found: Found, index: CaptureIndex, context: Carried) -> str | None:
    """The name of the string in the handoff's own context that holds a scalar's text verbatim.

    Where the task has held several values, the one that the sender wrote of need not be the last:
    then any of them counts that stands there as a word. Of the earlier ones only hashes are kept.
    """
    text = values.scalar_text(found.value) if found.value is not None else None
    if text is None or found.value is None or not is_searched(text):
        return None
    own = index.captures[found.top]
    hashes = own.hashes if own is found.capture and own.value == found.value else ()
    return context.texts().where(text, hashes, found.value[0] == _QUOTE)


def _add_extras(
    kept: dict[str, PackageField],
    context: Carried,
    taken: set[str],
    index: CaptureIndex,
    source: EventRef,
) -> None:
    """The names of the handoff's context whose whole value no declared field took."""
    for name, value in context.values.items():
        if name in taken:
            continue
        earlier = index.captures.get(name)
        found = None if earlier is None else Found(earlier.value, earlier, name)
        capture, candidates = _held(index, found, value)
        ref = source if capture is None else capture.ref
        kept[name] = PackageField(value, "extra", ref, candidates)
