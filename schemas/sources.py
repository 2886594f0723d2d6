"""The third document that people write: a source, which says how foreign records become ours.

A source names topics that exist already, how their records are decoded, and what each of them
means: tool outputs and acks. It lives as YAML in git (`schemas.loading`) and as JSON on the
compacted topic `handoff.sources` (`to_json`, `from_json`, `key`). docs/intake.md explains the
language. The models are strict: an unknown key or a wrong type is an error, never a guess. What
stands in paths, templates and conditions is judged by `schemas.lint_sources`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)

from schemas.documents import DocumentModel, Person
from schemas.source_decoders import DecodedBy
from schemas.values import Duration, Id, Name, Names, NamesOrNone, Text, many, wrong

TOPIC: Final = "handoff.sources"
# Names that expressions and paths may begin with, beside those that `let` binds.
ROOTS: Final = ("value", "it", "key", "headers", "record")
RECORD_MEMBERS: Final = ("topic", "partition", "offset", "timestamp")
ACK_STATUSES: Final = ("accepted", "completed", "rejected")
ALERT_ACTIONS: Final = ("ack", "resolve", "silence")
MAX_ENTRIES: Final = 100
# How an entry names other tasks.
LINKS: Final = ("continues", "continued_by", "unlinked")

Scalar = str | int | float | bool | None


# --- what a member is made of ----------------------------------------------------------------


class LiteralValue(DocumentModel):
    """What stands here is the value."""

    value: Any


class FromValue(DocumentModel):
    """A value and what is done with it, in this order: json, split, text, slug."""

    from_: "Expr" = Field(alias="from")
    json_: bool = Field(alias="json", default=False)
    """The value is text that holds JSON: read it."""
    split: Annotated[str, Field(min_length=1)] | None = None
    """The value is text: make a list of its parts between this mark."""
    text: Text | None = None
    """A template in which `it` is the value, or each item of a list."""
    slug: bool = False
    """As an id: lower case, `-` for everything that is no letter or digit."""
    unit: Literal["s", "ms", "us", "ns"] | None = None
    """Of `occurred_at` only: the unit of a number, where it cannot be found out."""


class TextValue(DocumentModel):
    """A template: text with paths in braces."""

    text: Text


class FirstValue(DocumentModel):
    """The first of these that is there."""

    first: Annotated[tuple["Expr", ...], Field(min_length=1), BeforeValidator(many)]


class LookupValue(DocumentModel):
    """What a table under `lookups` has for a key."""

    lookup: Name
    by: "Expr"
    """The key."""
    else_: "Otherwise | None" = Field(alias="else", default=None)
    """Where the table has no such key; without it the record becomes a dead letter."""


# In this order: `text` may stand beside `from`.
_VERBS: Final[dict[str, type[DocumentModel]]] = {
    "from": FromValue,
    "value": LiteralValue,
    "text": TextValue,
    "first": FirstValue,
    "lookup": LookupValue,
}
# Tags are in brackets: so no error's place takes one for a key of the document.
TAGGED: Final = {f"[{verb}]": model for verb, model in _VERBS.items()}


def _verb(value: object) -> str:
    if isinstance(value, str):
        return "[path]"
    if isinstance(value, (bool, int, float)):
        return "[scalar]"
    if isinstance(value, dict):
        return next((f"[{verb}]" for verb in _VERBS if verb in value), "[none]")
    return next((tag for tag, model in TAGGED.items() if isinstance(value, model)), "[none]")


def _no_verb(value: object) -> object:
    if isinstance(value, dict) and len(value) == 1 and next(iter(value.values())) is None:
        wrong(
            "is a mapping here: YAML takes braces without quotes for one",
            'put a template in quotes, such as "{value.id}"',
        )
    if isinstance(value, list):
        wrong("is a list, and one value is made here", "write {value: [...]} for a fixed list")
    wrong(
        "does not say where the value comes from",
        "write a path, or a mapping with one of: value, from, text, first, lookup",
    )


Expr = Annotated[
    Annotated[str, Tag("[path]")]
    | Annotated[int | float | bool, Tag("[scalar]")]
    | Annotated[LiteralValue, Tag("[value]")]
    | Annotated[FromValue, Tag("[from]")]
    | Annotated[TextValue, Tag("[text]")]
    | Annotated[FirstValue, Tag("[first]")]
    | Annotated[LookupValue, Tag("[lookup]")]
    | Annotated[Any, BeforeValidator(_no_verb), WithJsonSchema({"not": {}}), Tag("[none]")],
    Discriminator(_verb),
]


def _miss(value: object) -> str:
    return "[value]" if isinstance(value, (dict, LiteralValue)) else "[word]"


Otherwise = Annotated[
    Annotated[Literal["dead_letter", "skip"], Tag("[word]")]
    | Annotated[LiteralValue, Tag("[value]")],
    Discriminator(_miss),
]


# --- what an entry makes ---------------------------------------------------------------------


def parts_of(expr: Expr) -> list[Expr]:
    """The expressions within an expression."""
    match expr:
        case FromValue():
            return [expr.from_]
        case FirstValue():
            return list(expr.first)
        case LookupValue():
            return [expr.by]
    return []


class CurrentStage(DocumentModel):
    """The stage where the task is: integrity knows it, intake does not."""

    current: Literal[True]


def _stage(value: object) -> str:
    current = isinstance(value, CurrentStage) or (isinstance(value, dict) and "current" in value)
    return "[current]" if current else "[made]"


StageOf = Annotated[
    Annotated[CurrentStage, Tag("[current]")] | Annotated[Expr, Tag("[made]")],
    Discriminator(_stage),
]


class ContextOf(DocumentModel):
    """The names of the context, each with its value."""

    model_config = ConfigDict(**{**DocumentModel.model_config, "extra": "allow"})
    __pydantic_extra__: dict[str, Expr]

    spread: Expr | None = Field(alias="*", default=None)
    """An object whose members all come in."""
    without: NamesOrNone = ()
    """Members of it that stay out."""

    @property
    def named(self) -> dict[str, Expr]:
        """The values that are named one by one; they win over those of `*`."""
        return self.__pydantic_extra__


class HandoffOf(DocumentModel):
    """A handoff that the output declares."""

    to: Expr
    """The receiver."""
    contract: Expr | None = None
    part: Expr | None = None
    note: Expr | None = None
    carries: Literal["record", "context", "history"] = "record"
    """What counts as arrived: all that this source's tool captured in the task, only this event's
    context, or all within one run."""


class AckOf(DocumentModel):
    """What a receiver says of the task's one open handoff."""

    status: Expr
    """accepted, completed or rejected, or what makes one of these."""
    by: Expr
    reason: Expr | None = None
    receiver: Expr | None = None
    """Where several handoffs may be open: the one to this receiver."""


class AlertOf(DocumentModel):
    """What a person said, at their tool, to an alert that it was sent."""

    key: Expr
    """The alert: the dedup key that the tool was given."""
    action: Expr
    """ack, resolve or silence, or what makes one of these."""
    by: Expr


class TasksOf(DocumentModel):
    """Other tasks: one id, or a list of them; nothing where that leads to nothing."""

    tasks: Expr
    workflow: Name | None = None
    """Their workflow; none: that of the output."""


class Common(DocumentModel):
    """The members that entries share."""

    task: Expr | None = None
    """The task's id; a whole number becomes text as it is spelled."""
    workflow: Expr | None = None
    tool: Expr | None = None
    team: Expr | None = None
    stage: StageOf | None = None
    occurred_at: Expr | None = None
    """A time with an offset, or a number: its unit is found out."""
    id: Expr | None = None
    """Names the event; without it source, topic, partition and offset do."""
    run: Expr | None = None
    """The run that a `history` is that of."""


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, (dict, HandoffOf)) else many(value)


class Emit(Common):
    """What a record means, where `when` holds: one output, ack or alert action, or one an element
    of `each`."""

    when: str | None = None
    """A condition; what cannot be evaluated is a dead letter, and not false."""
    each: Expr | None = None
    """A list: the entry is made for each element, which is `it`."""
    accepts: bool | str = True
    """false, or a condition: whether the output accepts a handoff."""
    context: ContextOf | None = None
    retracted: NamesOrNone = ()
    """Names that are true no more; '*' is every name."""
    handoff: Annotated[
        tuple[HandoffOf, ...],
        Field(max_length=16),
        BeforeValidator(_one_or_more, json_schema_input_type=HandoffOf | list[HandoffOf]),
    ] = ()
    continues: TasksOf | None = None
    """The tasks that this one goes on from."""
    continued_by: TasksOf | None = None
    """The tasks that go on from this one."""
    unlinked: TasksOf | None = None
    """The tasks that it is linked with no more."""
    ack: AckOf | None = None
    alert: AlertOf | None = None


# --- the source ------------------------------------------------------------------------------


def _start(value: object) -> object:
    if isinstance(value, str) and value not in ("earliest", "latest"):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            wrong(
                "is neither earliest nor latest nor a time",
                "write a time such as 2026-03-01T09:00:00Z",
            )
    if isinstance(value, datetime) and value.tzinfo is None:
        wrong("is a time without an offset", "add Z for UTC, or one such as +02:00")
    try:
        return value.astimezone(UTC) if isinstance(value, datetime) else value
    except OverflowError:  # its offset leads out of the calendar
        wrong("lies outside of the years 1 to 9999", "give a later one, or earliest")


class Source(DocumentModel):
    """Which foreign topics intake reads, and what their records mean."""

    kind: Literal["Source"]
    id: Id
    owner: Person
    """Who is told when it falls silent or fails."""
    status: Literal["active", "retired"] = "active"
    topic: Names
    """A topic of the same cluster, or a list; none of the processor's own."""
    decode: DecodedBy
    start: Annotated[
        Literal["earliest", "latest"] | datetime,
        BeforeValidator(_start, json_schema_input_type=Literal["earliest", "latest"] | datetime),
        WithJsonSchema(
            {"anyOf": [{"enum": ["earliest", "latest"]}, {"type": "string", "format": "date-time"}]}
        ),
    ] = "earliest"
    """Where a topic is begun that is new to intake: at its first record, at its end, or at the
    first record whose timestamp is not before a time."""
    source_grace: Duration | None = None
    """So long it may be silent before that is a violation; none is never."""
    let: dict[Name, Expr] = Field(default_factory=dict)
    """Names for values; what is absent is null."""
    when: str | None = None
    """A condition that each record must fulfil; others are left out."""
    defaults: Common = Common()
    emit: Annotated[tuple[Emit, ...], Field(max_length=MAX_ENTRIES), BeforeValidator(many)] = ()
    override: dict[Name, Expr] = Field(default_factory=dict)
    """With a decoder that makes outputs itself: members of these, replaced."""
    lookups: dict[Name, dict[str, Scalar]] = Field(default_factory=dict)


for _model in (
    FromValue,
    FirstValue,
    LookupValue,
    ContextOf,
    HandoffOf,
    AckOf,
    AlertOf,
    Common,
    Emit,
    Source,
):
    _model.model_rebuild()


def parse(data: Mapping[str, Any]) -> Source:
    """A source from plain data (aliases as in YAML). Raises pydantic.ValidationError."""
    return Source.model_validate(dict(data))


def from_json(data: bytes) -> Source:
    """Read the compact-topic form. Raises pydantic.ValidationError (a ValueError)."""
    return Source.model_validate_json(data)


def to_json(source: Source) -> bytes:
    """The compact-topic form, defaults written out, so that a later default changes no source."""
    return source.model_dump_json(by_alias=True).encode()


def key(source: Source) -> str:
    """The key on the compacted topic."""
    return source.id
