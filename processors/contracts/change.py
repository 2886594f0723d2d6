"""One change of a contract, as a diff tells it."""

from datetime import timedelta
from typing import Final, Literal

from msgspec import Struct

from schemas.records import Severity
from schemas.values import format_duration

Side = Literal["sender", "receiver", "owner"]  # owner: of the contract
RANK: Final[dict[Severity, int]] = {"info": 0, "warning": 1, "error": 2}


class Change(Struct, frozen=True):
    """One change. `at` is its place in the contract, such as `fields.budget.type`; empty where it
    is everywhere. `breaks` names whom it breaks; nobody where it is empty."""

    at: str
    what: str
    reason: str
    breaks: tuple[Side, ...] = ()

    @property
    def breaking(self) -> bool:
        """Whether it breaks anybody."""
        return bool(self.breaks)


def period(duration: timedelta | None) -> str:
    """A duration as a contract writes it."""
    return "none" if duration is None else format_duration(duration)
