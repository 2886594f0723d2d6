"""How a source says how the bytes of its records become a value, or outputs: `decode`."""

from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.documents import DocumentModel
from schemas.values import Duration, Name, NamesOrNone, wrong

MAX_QUIET: Final = timedelta(hours=1)


class NoOptions(DocumentModel):
    """This decoder has no options."""


class DebeziumOptions(DocumentModel):
    """Change events of Debezium, as JSON with or without the inline schema."""

    snapshot: Literal["backfill", "live", "skip"] = "backfill"
    """What reads of a snapshot (`op: r`) are."""
    tombstones: Literal["skip", "dead_letter"] = "skip"


def _quiet(value: timedelta) -> timedelta:
    if not timedelta(seconds=1) <= value <= MAX_QUIET:
        wrong("is not between a second and an hour", "write a duration such as PT30S")
    return value


class TraceOptions(DocumentModel):
    """Spans of one trace in several records."""

    quiet: Annotated[Duration, AfterValidator(_quiet)] | None = None
    """So long a trace must be quiet before it is told; none: 30 seconds."""


class ChatOptions(TraceOptions):
    """Requests to a model, and its answers."""

    task: NamesOrNone = ()
    """Members or headers that name the conversation; the first that is there counts."""


class OtelOptions(TraceOptions):
    """Names of attributes, the first that is there counts; none: those of the conventions.
    `trace_id` names the trace itself."""

    task: NamesOrNone = ()
    run: NamesOrNone = ()
    agent: NamesOrNone = ()
    arguments: NamesOrNone = ()
    result: NamesOrNone = ()
    input: NamesOrNone = ()
    output: NamesOrNone = ()
    workflow: Name | None = None
    """An attribute of the resource."""


_DECODERS: Final = ("json", "cloudevents", "debezium", "otel-genai", "agents-sdk", "openai-chat")
OUTPUT_DECODERS: Final = ("otel-genai", "agents-sdk", "openai-chat")


class Decode(DocumentModel):
    """The decoder and its options: exactly one. The last three make outputs themselves."""

    json_: NoOptions | None = Field(alias="json", default=None)
    cloudevents: NoOptions | None = None
    debezium: DebeziumOptions | None = None
    otel_genai: OtelOptions | None = Field(alias="otel-genai", default=None)
    agents_sdk: TraceOptions | None = Field(alias="agents-sdk", default=None)
    openai_chat: ChatOptions | None = Field(alias="openai-chat", default=None)

    @model_validator(mode="after")
    def _one(self) -> "Decode":
        if len([name for name in type(self).model_fields if getattr(self, name) is not None]) != 1:
            wrong("names not exactly one decoder", f"write one of: {', '.join(_DECODERS)}")
        return self

    @property
    def name(self) -> str:
        """The decoder, as documents name it."""
        return next(
            info.alias or name
            for name, info in type(self).model_fields.items()
            if getattr(self, name) is not None
        )

    @property
    def options(self) -> Any:
        """Its options."""
        return next(
            found for name in type(self).model_fields if (found := getattr(self, name)) is not None
        )


def _decoder(value: object) -> object:
    if isinstance(value, str):
        if value not in _DECODERS:
            raise PydanticCustomError(
                "literal_error", "unknown decoder", {"expected": " or ".join(map(repr, _DECODERS))}
            )
        return {value: {}}
    return value


DecodedBy = Annotated[
    Decode, BeforeValidator(_decoder, json_schema_input_type=Decode | Literal[_DECODERS])
]
