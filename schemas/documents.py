"""The two documents that people write: handoff contracts and receivers.

They live as YAML in git (`schemas.loading` reads them) and as JSON on the compacted topics
`handoff.contracts` and `handoff.receivers` (`to_json`, `from_json`, `key`). Both ways end in the
models below, which are strict: an unknown key or a wrong type is an error, never a guess.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from schemas.records import Severity, ViolationKind
from schemas.values import (
    MAX_FIELDS,
    Cel,
    ContextPaths,
    Date,
    Duration,
    Id,
    JsonSchema,
    JsonTypes,
    Name,
    Names,
    NamesOrNone,
    Paths,
    Queue,
    Region,
    SameAs,
    Sentence,
    Text,
    Translation,
    Version,
    many,
    one_or_many,
    wrong,
)

VIOLATION_KINDS: Final[tuple[str, ...]] = get_args(ViolationKind)
HoldKind = Literal[ViolationKind, "any"]

ANY_STAGE: Final = ("*",)
# What tools write where they have no value.
PLACEHOLDERS: Final = ("None", "null", "N/A", "undefined", "NaN", "-")
# The one tag that says that everybody may see the values; any other one says that nobody may.
PUBLIC: Final = "public"
# What `discover` writes into a draft: its owner, and how its action begins.
UNKNOWN: Final = "UNKNOWN"
EDIT: Final = "EDIT:"


class DocumentModel(BaseModel):
    """What every document and part of one is: strict, frozen, and silent about values in errors."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


def _any_alone(stages: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in stages and len(stages) > 1:
        wrong("'*' means any stage", "leave the other stages out, or the '*'")
    return stages


def _rebuild(value: object) -> object:
    return {"allowed": value} if isinstance(value, bool) else value


def _owner(value: object) -> object:
    return {"name": UNKNOWN, "contact": UNKNOWN} if value == UNKNOWN else value


def _acceptance(value: object) -> str:
    return "tools" if isinstance(value, (dict, AcceptTools)) else "way"


def is_classified(tags: Iterable[str]) -> bool:
    """Whether these tags of a field say that its values are shown to nobody but the receiver."""
    return any(tag != PUBLIC for tag in tags)


# --- the handoff contract --------------------------------------------------------------------


class Person(DocumentModel):
    """A named person and where to reach them."""

    name: Name
    contact: Name


class Sender(DocumentModel):
    """Where the handoff comes from."""

    team: Name | None = None
    """The team that runs the stage."""
    stage: Annotated[Names, AfterValidator(_any_alone)]
    """A stage, a list of stages, or '*' for any; the most specific contract wins."""


class Destination(DocumentModel):
    """Where the handoff goes."""

    receiver: Id
    """The id of a registered receiver."""
    workflow: Name | None = None
    """The workflow of the task that goes on there under another name; none: the same task."""
    stage: Name | None = None
    """The stage that the receiver runs; an output there accepts the handoff."""


class Rebuild(DocumentModel):
    """Whether and how a dropped field is filled from the task's earlier capture."""

    allowed: bool = True
    max_age: Duration | None = None
    """No capture older than this, the two `occurred_at` compared; none means any age."""
    pick: Literal["latest", "unambiguous"] = "latest"
    """latest: the last capture. unambiguous: only when the task ever held one value."""


class ContractField(DocumentModel):
    """A context field that the receiver asks for."""

    name: Name
    """The receiver's term: the key in the package."""
    from_: Paths = Field(
        alias="from", default_factory=lambda field: (field["name"],), validate_default=True
    )
    """The sender's names or dotted paths; the first hit wins. Default: the field's name."""
    type: JsonTypes | None = None
    """JSON Schema types, one or a list; 1.0 is an integer."""
    schema_: JsonSchema | None = Field(alias="schema", default=None)
    """JSON Schema of the value, after translation; instead of `type`."""
    required: bool = True
    """Required means present and not empty."""
    rebuild: Annotated[
        Rebuild, BeforeValidator(_rebuild, json_schema_input_type=bool | Rebuild)
    ] = Rebuild()
    """true, false, or a mapping."""
    weight: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] = 1.0
    """The field's share in fidelity and completeness, against the other required fields."""
    classification: NamesOrNone = ()
    """Tags; values of tagged fields are masked wherever a person or an alert reads. The tag
    `public` alone masks nothing: it lets the console in a browser show the values."""
    translate: Translation | None = None
    """The sender's terms (JSON text of a scalar, a string without quotes) to the receiver's."""
    same_as: SameAs | None = None
    """How its values are read to tell whether two are the same, however each is spelled."""
    region: Region | None = None
    """With `same_as: phone`: the country whose national numbers these may be."""
    stable: bool = False
    """Once it was handed off, it does not change."""

    @property
    def classified(self) -> bool:
        """Whether its values are masked wherever a person reads."""
        return is_classified(self.classification)

    @property
    def public(self) -> bool:
        """Whether its contract says that everybody may see its values."""
        return bool(self.classification) and not self.classified

    @model_validator(mode="after")
    def _one_shape(self) -> "ContractField":
        if self.type is not None and self.schema_ is not None:
            wrong(f"the field {self.name!r} has both 'type' and 'schema'", "keep one of them")
        if self.region is not None and self.same_as != "phone":
            wrong(
                f"the field {self.name!r} has a 'region', which says how phone numbers are read",
                "add same_as: phone, or leave 'region' out",
            )
        return self


class Rule(DocumentModel):
    """An expression over the assembled context that must hold."""

    name: Name
    expr: Cel
    """CEL subset."""
    message: Sentence
    severity: Severity = "error"


class AcceptTools(DocumentModel):
    """Only outputs of these tools at the receiving stage count as acceptance."""

    tools: Names


class Repeat(DocumentModel):
    """Equal values that come again and again become one pattern for the receiver."""

    by: ContextPaths
    """Paths such as context.error_code; handoffs with equal values count together."""
    threshold: Annotated[int, Field(ge=2)]
    """How many handoffs within the window open the pattern."""
    within: Duration
    receiver: Id


class HandoffContract(DocumentModel):
    """What a handoff must carry, to whom, by when. A registered version changes only in status."""

    kind: Literal["HandoffContract"]
    id: Id
    version: Version
    status: Literal["draft", "trial", "active", "deprecated", "retired"] = "active"
    """trial judges everything as info and never holds."""
    owner: Annotated[
        Person, BeforeValidator(_owner, json_schema_input_type=Person | Literal["UNKNOWN"])
    ]
    """The owner of the contract itself; UNKNOWN only while it is a draft."""
    action: Sentence
    """What the receiver is to do with the handoff."""
    workflow: Name
    from_: Sender = Field(alias="from")
    to: Destination
    when: Cel | None = None
    """CEL subset: the processor starts the handoff when this turns true."""
    description: Text | None = None
    fields: Annotated[
        tuple[ContractField, ...], Field(max_length=MAX_FIELDS), BeforeValidator(many)
    ] = ()
    rules: Annotated[tuple[Rule, ...], Field(max_length=MAX_FIELDS), BeforeValidator(many)] = ()
    hold_on: Annotated[
        tuple[HoldKind, ...],
        BeforeValidator(one_or_many, json_schema_input_type=HoldKind | list[HoldKind]),
    ] = ("receiver_missing", "owner_missing")
    """Kinds of violation that hold the package; [] never holds, [any] always."""
    accept_within: Duration | None = None
    """Counted from sending or release."""
    complete_within: Duration | None = None
    """Counted from sending or release."""
    release_within: Duration | None = None
    """Counted from holding; then `held_too_long` to the contract's owner."""
    severity: dict[ViolationKind, Severity] = {}
    """Overrides the default severity of a kind."""
    accept: Annotated[
        Annotated[Literal["on_output", "explicit"], Tag("way")]
        | Annotated[AcceptTools, Tag("tools")],
        Discriminator(_acceptance),  # else a union reports what is wrong with each branch
    ] = "on_output"
    """What accepts: any output at `to.stage`, an ack only, or the outputs of these tools."""
    loop_after: Annotated[int, Field(ge=1, le=1_000)] = 3
    """The return between the two stages that counts as a loop; twice as many are an error."""
    extra: Literal["pass", "strip"] = "pass"
    """Whether fields that no one declared travel along."""
    placeholders: NamesOrNone = PLACEHOLDERS
    """Texts that stand where a value is missing, in any case; [] for none."""
    repeat: Repeat | None = None

    @model_validator(mode="after")
    def _whole(self) -> "HandoffContract":
        for what, names in (("field", self.fields), ("rule", self.rules)):
            times = Counter([item.name for item in names])
            for name, number in times.items():
                if number > 1:
                    wrong(f"the {what} {name!r} is declared twice", "rename or remove one")
        if self.status in ("trial", "active", "deprecated") and self.owner.name == UNKNOWN:
            wrong(
                f"a contract with status {self.status} has the owner UNKNOWN",
                "name the person who owns it, or set status to draft",
            )
        return self


# --- the receiver ----------------------------------------------------------------------------


class ReceiverOwner(DocumentModel):
    """A person who answers for what arrives."""

    name: Name
    contact: Name
    until: Date | None = None
    """The last day (UTC) on which this person is in force; none means without end."""


class Receiver(DocumentModel):
    """A registered destination of handoffs."""

    kind: Literal["Receiver"]
    id: Id
    team: Name
    aliases: NamesOrNone = ()
    """What senders call it, too: the name of an agent, say."""
    owners: Annotated[tuple[ReceiverOwner, ...], BeforeValidator(many)] = ()
    """The first one still in force is the named owner."""
    queue: Queue | None = None
    """A topic of the receiver's own, beside `handoff.packages`; none of the processor's topics."""
    consumer_group: Name | None = None
    """Its liveness is watched; none counts as live."""
    checks_every: Duration | None = None
    """How often the team really looks."""
    status: Literal["active", "retired"] = "active"


Document = HandoffContract | Receiver
_DOCUMENT: TypeAdapter[Document] = TypeAdapter(
    Annotated[HandoffContract | Receiver, Field(discriminator="kind")]
)


def parse(data: Mapping[str, Any]) -> Document:
    """A document from plain data (aliases as in YAML). Raises pydantic.ValidationError."""
    return _DOCUMENT.validate_python(dict(data))


def from_json(data: bytes) -> Document:
    """Read the compact-topic form. Raises pydantic.ValidationError (a ValueError)."""
    return _DOCUMENT.validate_json(data)


def complaint(error: ValidationError) -> str:
    """What is wrong with a document, and where: its first problem, and how many more there are."""
    first, *more = error.errors(include_url=False, include_input=False)
    at = ".".join(str(step) for step in first["loc"][1:])
    others = f" (and {len(more)} more)" if more else ""
    return f"{at}: {first['msg']}{others}" if at else f"{first['msg']}{others}"


def to_json(document: Document) -> bytes:
    """The compact-topic form, defaults written out, so that a later default changes no contract."""
    return document.model_dump_json(by_alias=True).encode()


def key(document: Document) -> str:
    """The key on the compacted topic: `<id>@<version>` of a contract, `<id>` of a receiver."""
    match document:
        case HandoffContract():
            return f"{document.id}@{document.version}"
        case Receiver():
            return document.id


def same_body(a: HandoffContract, b: HandoffContract) -> bool:
    """Equal in all but status: what a registered version must stay.

    Compared as JSON, because 1, 1.0 and true are equal in Python and are not in a contract.
    """
    return _body(a) == _body(b)


def _body(contract: HandoffContract) -> str:
    body = contract.model_dump(mode="json", by_alias=True, exclude={"status"})
    return json.dumps(body, sort_keys=True)
