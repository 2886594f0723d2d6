"""What a sink is given to send (`schemas.alerts`), and what it answers. The sinks know nothing else
of an alert."""

from msgspec import Struct

from schemas.alerts import Action, Notification

__all__ = ["Action", "Answer", "Delivered", "Failed", "Notification", "Refused"]


class Delivered(Struct, frozen=True):
    """The sink has taken it; `reference` is needed to change it later."""

    reference: str | None = None


class Failed(Struct, frozen=True):
    """It was not taken, and may be sent again after `after` seconds (None: when you like)."""

    why: str
    after: float | None = None


class Refused(Struct, frozen=True):
    """It will never be taken as it is: sending it again is of no use."""

    why: str


Answer = Delivered | Failed | Refused
