"""What tasks that continue each other tell each other (`handoff.internal.links`).

A message is keyed by the task that it is for. Between two tasks the messages keep their order.
"""

from typing import Literal

from msgspec import Raw, Struct

LINKS = "handoff.internal.links"


class SaidThere(Struct, frozen=True, gc=False, omit_defaults=True):
    """An event of another task: who said it when (epoch ms), where its record lies, what it said.

    With a `source_name` it is what a package put there under the receiver's name, at the time `at`:
    the context is that one value. `root` is the key of the task where it was said, if that is
    another one than the one that tells it.
    """

    stage: str
    tool: str
    event_id: str
    occurred_at: int
    partition: int
    offset: int
    context: dict[str, Raw]
    from_person: bool = False
    empty: list[str] = []
    run: str = ""
    source_name: str = ""
    at: int = 0
    candidates: int = 1
    root: str = ""


class Whereabouts(Struct, frozen=True, array_like=True, gc=False):
    """Where a task is: since when (event time, epoch ms), by which tool and team, and on which
    contracts it was handed off since it came there."""

    workflow: str
    stage: str
    tool: str
    stage_at: int
    begun: tuple[str, ...] = ()


class LinkMessage(Struct, frozen=True, gc=False, omit_defaults=True):
    """One message to the task `workflow`, `task_id` from another one.

    linked: you are continued by me. continued: I am continued by you. refused: I do not take part
    in that, `reason`. unlinked: no more. said: this was `said` here, or where it came from.
    taken_back: these names up to these times. caught_up: that is all up to now, I am at `where`,
    and continue the tasks `above`. moved: I am at `where` now, or have `left` it with a handoff.
    """

    kind: Literal[
        "linked",
        "continued",
        "refused",
        "unlinked",
        "said",
        "taken_back",
        "caught_up",
        "moved",
    ]
    workflow: str
    task_id: str
    of_workflow: str
    of_task_id: str
    occurred_at: int
    said: SaidThere | None = None
    taken_back: dict[str, int] = {}
    where: Whereabouts | None = None
    team: str | None = None
    left: bool = False
    above: list[str] = []
    reason: str = ""
