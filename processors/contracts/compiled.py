"""Contracts and receivers as the cores use them: documents compiled once, then only read."""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, reduce
from operator import add
from typing import Final

import msgspec
from msgspec import Struct

from processors.contracts import readers, values
from processors.contracts.classified import Classified, classify, fields_of
from processors.contracts.readers import Key
from processors.contracts.words import Words, words
from schemas import paths
from schemas.cel.expression import Expression, compile_expression
from schemas.documents import (
    ANY_STAGE,
    AcceptTools,
    ContractField,
    HandoffContract,
    Person,
    Receiver,
    ReceiverOwner,
)
from schemas.json_schema import Validator
from schemas.paths import Path
from schemas.records import Severity, ViolationKind
from schemas.values import SameAs

ERRORS: Final = frozenset(
    {
        "context_dropped",
        "context_empty",
        "never_captured",
        "context_malformed",
        "receiver_missing",
        "owner_missing",
        "source_silent",
        "not_accepted",
        "not_completed",
        "rejected",
        "held_too_long",
    }
)
_QUOTE: Final = ord('"')
_DASHES: Final = dict.fromkeys([*range(0x2010, 0x2016), 0x2212], "-")
_LONGEST_PLACEHOLDER: Final = 600  # bytes of JSON
_SHORT, _MOST_LATELY = 256, 64  # bytes of a value whose meaning is kept, and how many of a field
_SPELLED_KEY: Final = readers.reader(None)
_REMEMBERED_NAME: Final = 200  # characters: a tool may make one as long as a record
INFOS: Final = frozenset({"context_reentered", "context_retracted"})


def default_severity(
    kind: ViolationKind, rebuilt: bool = False, optional: bool = False
) -> Severity:
    """The severity of a kind where no contract says otherwise.

    What was rebuilt did no harm, and what nobody requires blocks nobody: both are warnings.
    """
    if kind in INFOS:
        return "info"
    return "error" if kind in ERRORS and not rebuilt and not optional else "warning"


class Field(Struct, frozen=True, gc=False):
    """A declared field.

    `starts` are the first bytes that a raw value of the declared types may have, `accepts` tells
    whether it really has the declared type or schema, None where the first byte says it all.
    `sure` are first two bytes of values that are as asked under the field's own name, whatever
    follows: of the declared type, and neither empty nor a placeholder.
    """

    name: str
    paths: tuple[Path, ...]
    plain: bool  # the sender's first name for it is its own, without dots, and is not translated
    tops: tuple[str, ...]  # every top-level name that the paths may begin at
    required: bool
    weight: float
    starts: bytes
    sure: frozenset[bytes]
    accepts: Callable[[bytes], bool] | None
    translate: dict[str, bytes] | None  # the sender's text -> the receiver's JSON
    terms: frozenset[bytes]  # the receiver's terms, as canonical JSON
    rebuild: bool
    max_age: int | None  # milliseconds
    unambiguous: bool
    stable: bool
    placeholders: frozenset[str]  # as `_as_placeholder` reads them
    placeholder_starts: frozenset[int]  # the bytes that may follow the quote of such a text
    key: Key  # equal for values that are the same
    words: Words | None  # how texts say its values; None: as they are
    folded: bool  # in whatever case
    # Of some short values their key, their form in the receiver's terms, and whether that fits:
    # what held handoffs are judged by is read again and again. None: it costs little.
    lately: dict[bytes, tuple[bytes, bytes, bool]] | None = None

    def is_as_said(self) -> bool:
        """Whether values under its name mean what they do where no contract says anything of it."""
        return (
            self.plain and len(self.tops) == 1 and self.accepts is None and self.key is _SPELLED_KEY
        )

    def is_placeholder(self, value: bytes) -> bool:
        """Whether a value only says that there is none."""
        if (
            not self.placeholders
            or value[0] != _QUOTE
            or value[1] not in self.placeholder_starts
            or len(value) > _LONGEST_PLACEHOLDER
        ):
            return False
        text = values.string(value)
        return text is not None and _as_placeholder(text) in self.placeholders

    def fits(self, value: bytes) -> bool:
        """Whether a value has the declared type or schema."""
        if value[0] not in self.starts:
            return False
        return self.accepts is None or self.accepts(value)

    def in_their_terms(self, value: bytes) -> tuple[bytes, ViolationKind | None]:
        """A value as the receiver asks for it, and what is wrong with it; then it is as it was."""
        ours: bytes | None = value
        if self.translate is not None:
            ours = self._translate(value)
            if ours is None:
                return value, "untranslatable"
        assert ours is not None
        return (ours, None) if self.fits(ours) else (value, "context_malformed")

    def meaning(self, value: bytes) -> tuple[bytes, bytes, bool]:
        """The key of a value, the value in the receiver's terms, and whether it fits."""
        lately = self.lately
        found = None if lately is None else lately.get(value)
        if found is None:
            ours, kind = self.in_their_terms(value)
            found = self.key(ours), ours, kind is None
            if lately is not None and len(value) <= _SHORT:
                if len(lately) >= _MOST_LATELY:
                    lately.clear()
                lately[value] = found
        return found

    def _translate(self, value: bytes) -> bytes | None:
        """The receiver's term for a value; one of theirs passes as it is; None for others."""
        text = values.scalar_text(value)
        if text is None or self.translate is None:
            return None
        translated = self.translate.get(text)
        if translated is not None:
            return translated
        return value if values.canonical(value) in self.terms else None


class Rule(Struct, frozen=True, gc=False):
    """An expression over the assembled context that must hold."""

    name: str
    expression: Expression
    message: str
    severity: Severity


class Repeat(Struct, frozen=True, gc=False):
    """Which values of a package are watched for coming again. `within` is in milliseconds.

    `by` are the paths as written, each with where it leads in the package's context. A path is
    `tagged` where something that the workflow classifies may be found: its values are never shown.
    """

    by: dict[str, Path]
    tagged: frozenset[str]
    threshold: int
    within: int
    receiver: str


class Contract(Struct, frozen=True, gc=False):
    """A contract, ready to judge with. Durations are milliseconds.

    `accepts` says which outputs at the receiving stage accept: those of these tools, those of all
    (True), or none (False). `fields_by_name` are the fields again, for what comes by name.
    """

    id: str
    version: int
    deprecated: bool
    trial: bool
    owner: Person
    action: str
    workflow: str
    team: str | None
    stages: tuple[str, ...]
    receiver: str
    to_stage: str | None
    to_workflow: str | None  # where a task of another workflow goes on there
    fields: tuple[Field, ...]
    fields_by_name: dict[str, Field]
    rules: tuple[Rule, ...]
    when: Expression | None
    hold_on: frozenset[str]
    severity: dict[ViolationKind, Severity]
    accepts: frozenset[str] | bool
    accept_within: int | None
    complete_within: int | None
    release_within: int | None
    loop_after: int
    strip: bool
    required: frozenset[str]
    weights: dict[str, float]  # of the required fields, in their order
    total_weight: float
    repeat: Repeat | None
    classified: Classified  # what the contracts of its workflow classify

    def accepted_by(self, tool: str) -> bool:
        """Whether an output of this tool at the receiving stage accepts."""
        return self.accepts if isinstance(self.accepts, bool) else tool in self.accepts

    def leads_out_of(self, workflow: str) -> bool:
        """Whether a task of this workflow goes on as one of another workflow."""
        return self.to_workflow is not None and self.to_workflow != workflow

    def severity_of(
        self, kind: ViolationKind, rebuilt: bool = False, optional: bool = False
    ) -> Severity:
        """The contract's own severity for a kind, or else the default; info on trial."""
        if self.trial:
            return "info"
        found = self.severity.get(kind)
        return found if found is not None else default_severity(kind, rebuilt, optional)

    def specificity(self, stage: str) -> int:
        """How closely the contract names a stage: 3 alone, 2 in a list, 1 by '*', 0 not at all."""
        if self.stages == ANY_STAGE:
            return 1
        return 0 if stage not in self.stages else (3 if len(self.stages) == 1 else 2)

    def specificity_from(self, workflow: str, stage: str) -> int:
        """As `specificity`, for a stage as a task of a workflow names it: one of another workflow
        has that before it, `tickets/answer`."""
        if workflow == self.workflow:
            return self.specificity(stage)
        before = f"{self.workflow}/"
        return self.specificity(stage.removeprefix(before)) if stage.startswith(before) else 0


class Destination(Struct, frozen=True, gc=False):
    """A registered receiver. `owners` come with the epoch ms at which their time ends.

    Whether members of `consumer_group` are there is probed; nobody asks where it is None.
    """

    id: str
    team: str
    owners: tuple[tuple[ReceiverOwner, int | None], ...]
    queue: str | None
    retired: bool
    consumer_group: str | None = None
    checks_every: int | None = None  # milliseconds

    def owner_at(self, now: int) -> ReceiverOwner | None:
        """The first owner in force at `now` (epoch ms)."""
        for owner, ends in self.owners:
            if ends is None or now < ends:
                return owner
        return None


def milliseconds(duration: dt.timedelta | None) -> int | None:
    """A duration in whole milliseconds."""
    return None if duration is None else duration // dt.timedelta(milliseconds=1)


def severity_under(contract: Contract | None, kind: ViolationKind) -> Severity:
    """The severity of a kind about a handoff as a whole, with or without a contract."""
    return contract.severity_of(kind) if contract is not None else default_severity(kind)


def compile_contract(document: HandoffContract, classified: Classified | None = None) -> Contract:
    """Compile a contract document. It was validated when it was read, so this cannot fail.

    `classified` is what its workflow classifies; None where it is the workflow's only contract.
    """
    if classified is None:
        classified = classify(fields_of(document))
    placeholders = frozenset(map(_as_placeholder, document.placeholders))
    fields = tuple(_compile_field(field, placeholders) for field in document.fields)
    weights = {field.name: field.weight for field in fields if field.required}
    accepts = (
        frozenset(document.accept.tools)
        if isinstance(document.accept, AcceptTools)
        else document.accept == "on_output"
    )
    return Contract(
        id=document.id,
        version=document.version,
        deprecated=document.status == "deprecated",
        trial=document.status == "trial",
        owner=document.owner,
        action=document.action,
        workflow=document.workflow,
        team=document.from_.team,
        stages=document.from_.stage,
        receiver=document.to.receiver,
        to_stage=document.to.stage,
        to_workflow=document.to.workflow if document.to.workflow != document.workflow else None,
        fields=fields,
        fields_by_name={field.name: field for field in fields},
        rules=tuple(
            Rule(rule.name, compile_expression(rule.expr), rule.message, rule.severity)
            for rule in document.rules
        ),
        when=compile_expression(document.when) if document.when is not None else None,
        hold_on=frozenset(document.hold_on),
        severity=dict(document.severity),
        accepts=accepts,
        accept_within=milliseconds(document.accept_within),
        complete_within=milliseconds(document.complete_within),
        release_within=milliseconds(document.release_within),
        loop_after=document.loop_after,
        strip=document.extra == "strip",
        required=frozenset(weights),
        weights=weights,
        # Added up as shares of it are; `sum` rounds otherwise from Python 3.12 on.
        total_weight=reduce(add, weights.values(), 0.0),
        repeat=_compile_repeat(document, classified),
        classified=classified,
    )


def compile_receiver(document: Receiver) -> Destination:
    """Compile a receiver document. An owner's `until` is the last whole day (UTC) in force."""
    owners = []
    for owner in document.owners:
        ends = None
        if owner.until is not None:
            last = dt.datetime.combine(owner.until, dt.time.min, dt.UTC)
            ends = int(last.timestamp() * 1000) + 86_400_000
        owners.append((owner, ends))
    return Destination(
        id=document.id,
        team=document.team,
        owners=tuple(owners),
        queue=document.queue,
        retired=document.status == "retired",
        consumer_group=document.consumer_group,
        checks_every=milliseconds(document.checks_every),
    )


def _compile_repeat(document: HandoffContract, classified: Classified) -> Repeat | None:
    repeat = document.repeat
    if repeat is None:
        return None
    by = {path: paths.read(path.removeprefix("context.")) for path in repeat.by}
    own = {  # what the contract itself classifies, with all that stands beside it in an object
        top
        for field in document.fields
        if field.classified
        for top in (field.name, *(paths.read(source).top for source in field.from_))
    }
    return Repeat(
        by,
        frozenset(
            name for name, path in by.items() if path.top in own or classified.covers(path.name)
        ),
        repeat.threshold,
        repeat.within // dt.timedelta(milliseconds=1),
        repeat.receiver,
    )


def undeclared(name: str) -> Field:
    """A field of which no contract says anything: what stands under a name."""
    return _undeclared(name) if len(name) <= _REMEMBERED_NAME else _undeclared.__wrapped__(name)


@lru_cache(maxsize=4096)
def _undeclared(name: str) -> Field:
    path = Path(name, name, ())
    return Field(
        name=name,
        paths=(path,),
        plain=True,
        tops=(name,),
        required=False,
        weight=0,
        starts=_ANY,
        sure=frozenset(),
        accepts=None,
        translate=None,
        terms=frozenset(),
        rebuild=False,
        max_age=None,
        unambiguous=False,
        stable=False,
        placeholders=frozenset(),
        placeholder_starts=frozenset(),
        key=_SPELLED_KEY,
        words=None,
        folded=False,
    )


def _compile_field(field: ContractField, placeholders: frozenset[str]) -> Field:
    read = [paths.read(name) for name in field.from_]
    translate = None
    terms: frozenset[bytes] = frozenset()
    if field.translate is not None:
        translate = {term: msgspec.json.encode(to) for term, to in field.translate.items()}
        terms = frozenset(values.canonical(value) for value in translate.values())
    same_as = field.same_as or _implied(field)
    tops = dict.fromkeys([p.name for p in read] + [p.top for p in read])
    placeholders -= {_as_placeholder(term) for term in _terms(field)}
    placeholder_starts = _text_starts(placeholders)
    plain = translate is None and read[0].name == read[0].top == field.name
    starts, accepts = _starts(field), _acceptance(field)
    return Field(
        name=field.name,
        paths=tuple(read),
        plain=plain,
        tops=tuple(tops),
        required=field.required,
        weight=field.weight,
        starts=starts,
        sure=_sure(starts, placeholder_starts) if plain and accepts is None else frozenset(),
        accepts=accepts,
        translate=translate,
        terms=terms,
        rebuild=field.rebuild.allowed,
        max_age=milliseconds(field.rebuild.max_age),
        unambiguous=field.rebuild.pick == "unambiguous",
        stable=field.stable,
        placeholders=placeholders,
        placeholder_starts=placeholder_starts,
        key=readers.reader(same_as, field.region),
        words=words(same_as, field.region),
        folded=same_as == "text",
        lately={} if same_as is not None or field.schema_ is not None else None,
    )


def _as_placeholder(text: str) -> str:
    """A text as placeholders are compared: in any case and width, with any dash."""
    return readers.folded_text(readers.in_ascii(text)).translate(_DASHES)


def _terms(field: ContractField) -> Iterator[str]:
    """The texts that a field's contract names as its values: they stand for no missing one."""
    schema = field.schema_ or {}
    enum = schema.get("enum")
    named = [schema.get("const"), *(enum if isinstance(enum, list) else ())]
    if field.translate is not None:
        named += [*field.translate, *field.translate.values()]
    return (each for each in named if isinstance(each, str))


def _text_starts(texts: Iterable[str]) -> frozenset[int]:
    """The bytes that a JSON string of one of some case-folded texts may have behind its quote: the
    text's first character in either case, white space, an escape, or part of a longer character."""
    first = {char for text in texts for char in (text[:1], text[:1].upper())}
    plain = {ord(char) for char in first if char.isascii() and char}
    return frozenset(plain) | frozenset(b' \\"&') | frozenset(range(0x80, 0x100))


def _implied(field: ContractField) -> SameAs | None:
    """The reader that a field's type or format asks for."""
    schema = field.schema_ or {}
    types = field.type or schema.get("type") or ()
    given = {types} if isinstance(types, str) else set(types)
    if given and given <= {"number", "integer", "null"}:
        return "number"
    return "date" if schema.get("format") in ("date", "date-time") else None


_STARTS = {
    "string": b'"',
    "object": b"{",
    "array": b"[",
    "boolean": b"tf",
    "null": b"n",
    "number": b"-0123456789",
    "integer": b"-0123456789",
}
_ANY = b"".join(_STARTS.values())


def _starts(field: ContractField) -> bytes:
    return b"".join(_STARTS[type_] for type_ in field.type) if field.type else _ANY


def _sure(starts: bytes, placeholder_starts: frozenset[int]) -> frozenset[bytes]:
    """What values begin with that hold something, begin as one should, and are no placeholder."""
    return frozenset(
        two
        for two in values.HOLDING
        if two[0] in starts and not (two[0] == _QUOTE and two[1] in placeholder_starts)
    )


def _acceptance(field: ContractField) -> Callable[[bytes], bool] | None:
    if field.type is not None:
        if "integer" not in field.type or "number" in field.type:
            return None  # the first byte of a value says all there is to know
        types = frozenset(field.type)
        return lambda value: values.kind(value) in types
    if field.schema_ is not None:
        return Validator(field.schema_).fits
    return None
