"""The record types with a schema file of their own, which others read or write."""

from typing import Final

from msgspec import Struct

from schemas.alerts import AlertAction, AlertSilence
from schemas.records import (
    Ack,
    Amendment,
    ConsoleAudit,
    DeadLetter,
    Edge,
    Figures,
    Liveness,
    Package,
    Pattern,
    Signal,
    SourcePosition,
    ToolOutput,
    Violation,
)

# The name is the file's and the header's.
PUBLISHED: Final[dict[str, type[Struct]]] = {
    "tool-output": ToolOutput,
    "ack": Ack,
    "amendment": Amendment,
    "alert-action": AlertAction,
    "alert-silence": AlertSilence,
    "liveness": Liveness,
    "source-position": SourcePosition,
    "package": Package,
    "violation": Violation,
    "signal": Signal,
    "dead-letter": DeadLetter,
    "pattern": Pattern,
    "edge": Edge,
    "figures": Figures,
    "console-audit": ConsoleAudit,
}
