"""What is firing, whom it was told, and what people say to it.

On the topic `handoff.alerts` there are three kinds of entries, told apart by `of` and by the
beginning of their key: `cause/FINGERPRINT` is something that is broken now, `alert/KEY` is what
people were told of one or more causes, and `sink/NAME` is how much a sink was told in the last
minute, `version/CONTRACT` since when a contract's version is in force. Each is deleted when it is
over. No entry holds a value of any context.
"""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from schemas.records import Name, Reason, Severity, Utc, When

ALERTS = "handoff.alerts"
SILENCES = "handoff.silences"
ACTIONS = "handoff.alert-actions"

Action = Literal["trigger", "update", "acknowledge", "resolve"]
AlertState = Literal["waiting", "firing", "acknowledged", "silenced", "ended"]
AlertKind = Literal["causes", "summary", "digest"]


class Notification(Struct, frozen=True, kw_only=True):
    """One message about one alert, for one sink.

    `key` is the same for every message about one occurrence: sinks deduplicate by it. `number`
    counts the messages of that key to that sink, from 1; one that is sent again keeps its number.
    `title` is one line of at most 200 characters; `facts` are label and text, in the order in which
    a person reads them. `labels` identify the alert (Alertmanager). `command` and `link` lead on.
    `to` is the contact at that sink: a routing key's reference, a Slack id, a mail address.
    `reference` is what the sink answered for this key before: Slack's `ts`.
    """

    key: str
    number: int
    action: Action
    severity: Severity
    title: str
    facts: tuple[tuple[str, str], ...]
    labels: dict[str, str]
    started_at: datetime
    at: datetime
    ended_at: datetime | None = None
    command: str | None = None
    link: str | None = None
    runbook: str | None = None
    to: str | None = None
    reference: str | None = None


class Cause(Struct, frozen=True, gc=False, tag_field="of", tag="cause", rename={"from_": "from"}):
    """Something that is broken now: an open pattern, or a held handoff where a route asks for it.

    `id` is that of the occurrence. `alert` is the key of the one alert that tells it, null while
    none does; `reason` is why, and `by` the silence or the cause that keeps it quiet. `told_count`
    is its count when it was told last. `quiet_at` is the severity at which a person resolved it: it
    is told again when it is more severe. `stages` and `tool` are those where it happens most.
    `last_had` says which tool had a lost value last, and at which stage. `opened_at` is when alerts
    learned of it.
    """

    id: str
    fingerprint: str
    kind: str
    severity: Severity
    workflow: str
    contract: str | None
    contract_version: int | None
    receiver: str | None
    from_: str | None
    to: str | None
    field: str | None
    owner: str | None
    owner_contact: str | None
    count: int
    first_seen: Utc
    last_seen: Utc
    stages: tuple[str, ...]
    tool: str | None
    tasks: tuple[str, ...]
    opened_at: Utc
    alert: str | None = None
    reason: str = "new"
    by: str | None = None
    told_count: int = 0
    quiet_at: Severity | None = None
    last_had: str | None = None


class Pending(Struct, frozen=True, gc=False):
    """A message that was handed over, and of which the sink has not answered yet."""

    number: int
    action: Action
    at: Utc


class SinkTold(Struct, frozen=True, gc=False):
    """What one sink was told of an alert.

    `number` counts the messages; `loud` and `content` are those of the alert that it was told.
    `reached` says whether the sink has a message, or may have it. `to` is the contact there,
    `undelivered` why the last message was given up. `kind` is what the sink was when it was told
    first. `added` says that the routes named it only after the alert was told elsewhere, `gone`
    that the routes do not have the sink any more.
    """

    number: int = 0
    action: Action | None = None
    loud: int = 0
    content: int = 0
    at: Utc | None = None
    reached: bool = False
    pending: Pending | None = None
    reference: str | None = None
    to: str | None = None
    undelivered: str | None = None
    kind: str | None = None
    added: bool = False
    gone: bool = False

    @property
    def stays_open(self) -> bool:
        """Whether the sink holds the alert as firing, or may do so, until it is told the end.
        Alertmanager forgets by itself what it is not told again."""
        if self.kind == "alertmanager":
            return False
        return self.pending is not None or (self.reached and self.action != "resolve")


class Alert(Struct, frozen=True, gc=False, tag_field="of", tag="alert"):
    """What people are told of one or more causes, from the first message to the last.

    `group` are the members that its causes share, `routes` the names of the routes that they match.
    `loud` counts the times that people are called, `content` the changes of what there is to say;
    `reason` is that of the last change. `causes` is how many fire. `severity`, `labels` and `first`
    (a fingerprint) stay as they were first told. `due_at` is when a waiting one is told, or a
    digest again. `until` is the end of a person's silence. `muted` says that silences cover all of
    it.
    """

    key: str
    kind: AlertKind
    state: AlertState
    group: dict[str, str | None]
    routes: tuple[str, ...]
    severity: Severity
    first: str
    started_at: Utc
    due_at: Utc
    causes: int
    loud: int
    content: int
    reason: str
    sinks: dict[str, SinkTold]
    title: str = ""
    labels: dict[str, str] = {}
    by: str | None = None
    until: Utc | None = None
    muted: bool = False
    ended_at: Utc | None = None


class SinkRate(Struct, frozen=True, gc=False, tag_field="of", tag="sink"):
    """How many causes a sink was told within the last minute, and when its last summary was."""

    sink: str
    told: tuple[tuple[Utc, int], ...] = ()
    summary_at: Utc | None = None


class VersionSince(Struct, frozen=True, gc=False, tag_field="of", tag="version"):
    """Since when the newest version of a contract is in force."""

    contract: str
    version: int
    since: Utc


AlertEntry = Cause | Alert | SinkRate | VersionSince


class AlertSilence(Struct, frozen=True, gc=False):
    """What is not told for a time (topic `handoff.silences`, key `id`).

    `match` names members of a cause (workflow, contract, kind, severity, receiver, owner) and what
    they must be: one of several texts, in which `*` stands for anything and `\\*` for a star. It
    begins and ends at `starts_at` and `ends_at`; a record without a value ends it at once.
    """

    id: Name
    match: dict[str, list[str]]
    starts_at: Utc
    ends_at: Utc
    by: Name
    reason: Reason


class AlertAction(Struct, frozen=True, gc=False):
    """What a person says to an alert (topic `handoff.alert-actions`, key `key`).

    `key` is that of the alert: the dedup key that sinks were given. `until` ends a `silence`;
    without it, it lasts until the alert is more severe or over.
    """

    id: Name
    key: Name
    action: Literal["ack", "resolve", "silence"]
    by: Name
    occurred_at: When
    until: When | None = None
    reason: Reason | None = None


def entry_key(entry: AlertEntry) -> str:
    """The key of an entry on `handoff.alerts`."""
    match entry:
        case Cause():
            return f"cause/{entry.fingerprint}"
        case Alert():
            return f"alert/{entry.key}"
        case SinkRate():
            return f"sink/{entry.sink}"
        case VersionSince():
            return f"version/{entry.contract}"
