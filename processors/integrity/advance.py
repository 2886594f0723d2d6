"""The integrity core: one input advances one task. The whole of it is pure.

    tool output -> known already? -> retract -> judge its handoffs -> remember -> trigger
                -> move the open handoffs on -> trim -> next task

Here each input finds its way. `outputs` takes what a tool said: `memory` holds what a task
remembers, `begin` says how handoffs begin, `handoff` judges one with `receiver` (where it goes) and
`fields` (what it carries), `lifecycle` moves the open ones on, `publish` builds the records.
`replies` takes what receivers and people say of a handoff, `linked` what tasks that continue each
other tell each other, `timers` what no record brings. `working` is what all of them have in common.
"""

from processors.contracts.registry import RegistrySnapshot
from processors.integrity import links
from processors.integrity.digests import digest, holds
from processors.integrity.limits import DEFAULT_LIMITS, Limits
from processors.integrity.linked import go_on, take_link, take_linked, wait
from processors.integrity.outputs import take_output
from processors.integrity.replies import take_reply
from processors.integrity.state import Task
from processors.integrity.timers import pass_deadlines, sweep
from processors.integrity.working import DIGEST
from schemas.flow import Effect, Increment, Input, InputEvent, TimerFired
from schemas.links import LinkMessage
from schemas.records import ToolOutput


def advance(
    task: Task | None,
    given: Input,
    tables: RegistrySnapshot,
    now: int,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[Task | None, list[Effect]]:
    """Advance a task by one input at processor time `now` (epoch ms).

    Returns the next task (the same object where nothing changed, None where it is forgotten) and
    what is to be published, in order. Raises `Refused` for an input that contradicts itself;
    nothing of it is taken then.
    """
    if isinstance(given, InputEvent):
        body = given.body
        if isinstance(body, ToolOutput):
            digest = _digest(body.tool, body.id)
            if task is None:
                task = Task(body.workflow, body.task_id)
            elif holds(task.heard, digest, DIGEST):
                return task, [Increment("duplicates")]
            linked = task.parents or task.children or task.waiting
            if linked or body.continues or body.continued_by or body.unlinked:
                return take_linked(
                    task, body, given, digest=digest, tables=tables, now=now, limits=limits
                )
            return take_output(
                task, body, given, digest=digest, tables=tables, now=now, limits=limits
            )
        if isinstance(body, LinkMessage):
            return take_link(task, body, given, tables=tables, now=now, limits=limits)
        # A receiver and a person number what they say on their own, too.
        digest = _digest("", f"{type(body).__name__}:{len(body.by)}:{body.by}{body.id}")
        if task is not None and holds(task.heard, digest, DIGEST):
            return task, [Increment("duplicates")]
        if task is not None and task.waiting:
            return wait(task, given, digest, now=now, effects=[], tables=tables, limits=limits)
        following, effects = take_reply(
            task, body, given, digest=digest, tables=tables, now=now, limits=limits
        )
        if task is not None and following is not None and task.children:
            effects += links.news(task, following, given.occurred_at)
        return following, effects
    assert task is not None
    if isinstance(given, TimerFired):
        if task.waiting and task.wait_until <= given.at:
            return go_on(task, tables, now, limits)
        return pass_deadlines(task, given, tables, now, limits)
    return sweep(task, tables, now, limits)


def _digest(source: str, id_: str) -> bytes:
    """An event is the same again when the same source gives the same id; no tool is called ""."""
    return digest(f"{len(source)}:{source}{id_}")
