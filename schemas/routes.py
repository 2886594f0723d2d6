"""The routes of alerts: who is told what, where and when.

A YAML file of one document, which `schemas.route_files` reads; it never stands on a topic, since
whoever may write to a topic must not choose where alerts go. Secrets are named and not written:
`{env: NAME}` is a variable of the environment, `{file: PATH}` a file.
"""

import datetime as dt
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas.documents import DocumentModel
from schemas.values import Duration, Id, Name, NamesOrNone, many, one_or_many, wrong

SinkKind = Literal["pagerduty", "alertmanager", "slack", "webhook", "email"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
GroupBy = Literal["owner", "workflow", "contract", "receiver", "kind", "severity"]
DAYS: Final[tuple[Day, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MATCHED: Final = ("workflow", "contract", "kind", "severity", "receiver", "owner")

_ENV: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_HOW: Final = "name it: {env: NAME} for a variable of the environment, or {file: PATH}"


class Reference(DocumentModel):
    """Where a text stands: in a variable of the environment, or in a file."""

    env: Name | None = None
    file: Name | None = None

    @model_validator(mode="after")
    def _one(self) -> "Reference":
        if (self.env is None) == (self.file is None):
            wrong("must name either a variable or a file", _HOW)
        if self.env is not None and not _ENV.fullmatch(self.env):
            wrong(
                f"{self.env[:40]!r} is no name of a variable", "use letters, digits and '_' in it"
            )
        return self

    def __str__(self) -> str:
        return f"env:{self.env}" if self.env is not None else f"file:{self.file}"


def _secret(value: object) -> object:
    if not isinstance(value, (dict, Reference)):
        wrong("a secret must not stand in this file", _HOW)
    return value


def _address(value: object) -> object:
    if isinstance(value, str):
        if not value.startswith(("http://", "https://")):
            wrong("must be an address", "write it with https://, or name it: {env: NAME}")
        if "@" in value.split("//", 1)[1].split("/", 1)[0]:
            wrong("has a user or a password in the address", _HOW)
    return value


def _time(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value, re.ASCII):
        return dt.time.fromisoformat(value)
    if isinstance(value, dt.time):
        return value
    wrong("must be a time of the day", 'write hours and minutes in quotes, such as "07:30"')


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        wrong(f"there is no time zone {value[:60]!r}", "write one such as Europe/Copenhagen or UTC")
    return value


Secret = Annotated[Reference, BeforeValidator(_secret)]
Setting = Annotated[str | Reference, Field(union_mode="left_to_right")]
Address = Annotated[Setting, BeforeValidator(_address)]
TimeOfDay = Annotated[dt.time, BeforeValidator(_time)]
TimeZone = Annotated[str, AfterValidator(_zone)]


# --- sinks --------------------------------------------------------------------------------------


class PagerDutySink(DocumentModel):
    """PagerDuty, Events API v2."""

    routing_key: Secret
    """The integration key of the service that is called where no contact has one."""


class AlertmanagerSink(DocumentModel):
    """Prometheus' Alertmanager, API v2."""

    url: Annotated[
        tuple[Address, ...],
        BeforeValidator(
            lambda value: tuple(value) if isinstance(value, (list, tuple)) else (value,)
        ),
    ]
    """One address, or those of all members of its cluster."""


class SlackSink(DocumentModel):
    """A Slack channel, by a bot's token."""

    token: Secret
    channel: Setting


class WebhookSink(DocumentModel):
    """A webhook of your own, signed as Standard Webhooks say."""

    url: Address
    secret: Secret


class EmailSink(DocumentModel):
    """E-mail over SMTP."""

    host: Setting
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    from_: Setting = Field(alias="from")
    to: Setting | None = None
    """Who gets it where no contact has an address."""
    user: Setting | None = None
    password: Secret | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"


class Sink(DocumentModel):
    """Where alerts go; exactly one kind of it."""

    pagerduty: PagerDutySink | None = None
    alertmanager: AlertmanagerSink | None = None
    slack: SlackSink | None = None
    webhook: WebhookSink | None = None
    email: EmailSink | None = None
    optional: bool = False
    """Whether it is left out, with the routes to it, where a variable that it names is not set."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Sink":
        if sum(getattr(self, kind) is not None for kind in _SINKS) != 1:
            wrong("must be of exactly one kind", f"give one of {', '.join(_SINKS)}")
        return self

    @property
    def kind(self) -> SinkKind:
        """Which of the five it is."""
        return next(kind for kind in _SINKS if getattr(self, kind) is not None)


_SINKS: Final[tuple[SinkKind, ...]] = ("pagerduty", "alertmanager", "slack", "webhook", "email")


class Contact(DocumentModel):
    """How a person or a team is reached at the sinks."""

    pagerduty: Secret | None = None
    """The integration key of their service."""
    slack: Name | None = None
    """Their id or channel, such as U012AB3CD."""
    email: Name | None = None


# --- routes -------------------------------------------------------------------------------------


class Match(DocumentModel):
    """What a route is for: each member that is given must be one of the texts; '*' in a text stands
    for anything."""

    workflow: NamesOrNone = ()
    contract: NamesOrNone = ()
    kind: NamesOrNone = ()
    severity: NamesOrNone = ()
    receiver: NamesOrNone = ()
    owner: NamesOrNone = ()


class QuietHours(DocumentModel):
    """When nobody is called: what comes then is told at the end, if it is still there."""

    from_: TimeOfDay = Field(alias="from")
    to: TimeOfDay
    time_zone: TimeZone
    days: Annotated[
        tuple[Day, ...], BeforeValidator(one_or_many, json_schema_input_type=Day | list[Day])
    ] = DAYS
    """The days on which they begin."""

    @model_validator(mode="after")
    def _some(self) -> "QuietHours":
        if self.from_ == self.to:
            wrong("quiet hours from and to are the same", "give two different times")
        return self


class AlertRoute(DocumentModel):
    """Which causes go to which sink."""

    name: Id
    match: Match = Match()
    sink: Name
    group_by: Annotated[
        tuple[GroupBy, ...],
        BeforeValidator(one_or_many, json_schema_input_type=GroupBy | list[GroupBy]),
    ] = ("owner", "workflow")
    """Causes that are alike in these are told in one alert when they come together."""
    quiet_hours: QuietHours | None = None
    continue_: bool = Field(alias="continue", default=False)
    """Whether the routes behind it are looked at, too."""
    held: bool = False
    """Whether it tells each handoff that is held."""
    held_too_long: bool = False
    """Whether it tells each handoff that is held for too long."""


class Digest(DocumentModel):
    """Where what breaks in the first days of a contract's version is told, once a day."""

    sink: Name
    at: TimeOfDay = dt.time(9)
    time_zone: TimeZone = "UTC"


class Heartbeat(DocumentModel):
    """An address that is called while all is well: who watches it notices when it is not called."""

    url: Address
    every: Duration = dt.timedelta(minutes=1)
    optional: bool = False
    """Whether it is left out where the variable that it names is not set."""


class AlertRoutes(DocumentModel):
    """Who is told what, where and when."""

    kind: Literal["AlertRoutes"]
    sinks: dict[Name, Sink]
    contacts: dict[Name, Contact] = Field(default_factory=dict)
    """By the contact of an owner, or by the owner's name."""
    routes: Annotated[tuple[AlertRoute, ...], BeforeValidator(many)]
    """The first that matches counts."""
    digest: Digest | None = None
    heartbeat: Heartbeat | None = None
    runbook: Name | None = None
    """The page that says what each kind of alert means; '#' and the kind are added."""

    @model_validator(mode="after")
    def _whole(self) -> "AlertRoutes":
        names = [route.name for route in self.routes]
        for name in names:
            if names.count(name) > 1:
                wrong(f"two routes have the name {name!r}", "rename one of them")
        used = [(f"the route {route.name!r}", route.sink) for route in self.routes]
        if self.digest is not None:
            used.append(("the digest", self.digest.sink))
        for who, sink in used:
            if sink not in self.sinks:
                known = ", ".join(self.sinks) or "none"
                wrong(f"{who} names the sink {sink!r}, which is not here", f"known here: {known}")
        return self


def references(model: Any) -> Iterator[Reference]:
    """Every variable and file that a part of the routes names."""
    if isinstance(model, Reference):
        yield model
    elif isinstance(model, DocumentModel):
        for name in type(model).model_fields:
            yield from references(getattr(model, name))
    elif isinstance(model, (tuple, list)):
        for each in model:
            yield from references(each)
    elif isinstance(model, dict):
        for each in model.values():
            yield from references(each)


def in_use(routes: AlertRoutes, variables: frozenset[str]) -> tuple[AlertRoutes, list[str]]:
    """The routes without the optional sinks whose variables are not set, and a sentence for each of
    those. `variables` are the names of the environment's that are set."""
    left_out: dict[str, str] = {}
    for name, sink in routes.sinks.items():
        unset = [r.env for r in references(sink) if r.env is not None and r.env not in variables]
        if sink.optional and unset:
            left_out[name] = f"the sink {name} is left out: {unset[0]} is not set"
    heartbeat, said = routes.heartbeat, list(left_out.values())
    if heartbeat is not None and heartbeat.optional:
        unset = [r.env for r in references(heartbeat) if r.env and r.env not in variables]
        if unset:
            heartbeat = None
            said.append(f"the heartbeat is left out: {unset[0]} is not set")
    digest = routes.digest
    if digest is not None and digest.sink in left_out:
        digest = None
    kept = routes.model_copy(
        update={
            "sinks": {name: s for name, s in routes.sinks.items() if name not in left_out},
            "routes": tuple(r for r in routes.routes if r.sink not in left_out),
            "digest": digest,
            "heartbeat": heartbeat,
        }
    )
    return kept, said
