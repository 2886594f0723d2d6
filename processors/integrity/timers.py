"""What no record brings: deadlines pass, and the tables say something else."""

from processors.contracts.registry import RegistrySnapshot
from processors.integrity import reevaluate
from processors.integrity.limits import Limits
from processors.integrity.state import Task
from processors.integrity.working import after_step, without_input
from schemas.flow import UNFINISHED, Effect, Increment, PutOff, TimerFired

# A deadline that is held back is looked at again after a tenth of the time since it passed.
_SOONEST_MS, _LATEST_MS = 500, 30_000


def pass_deadlines(
    task: Task, due: TimerFired, tables: RegistrySnapshot, now: int, limits: Limits
) -> tuple[Task | None, list[Effect]]:
    """The deadlines at or before `due.at` have passed. Those of receivers wait until the sources of
    the workflow were read past them: by the tables as they were at `due.at`, as all that came of
    the sources by then was judged."""
    known = tables if due.tables is None else due.tables
    handoffs = without_input(task, tables, now, limits)
    passed = []
    held_back = []
    moved = False
    for handoff in task.open:
        silent = None
        for name, at in handoff.waits():
            if at > due.at:
                continue
            late = None if name == "release" else known.behind(task.workflow, at)
            if late is None:
                passed.append((at, handoff.id, name))
                continue
            held_back.append(at)
            if late.silent(now, at):
                silent = late
        moved = handoffs.look_at_sources(handoff, silent) or moved
    for at, id_, name in sorted(passed):
        if handoffs.outbox.full:
            break  # what is left is still due
        handoffs.miss(handoffs.open[id_], name, at)
    moved = moved or bool(passed)
    for handoff in task.open:
        if handoffs.outbox.full:
            break
        here = handoffs.open[handoff.id]
        if limits.handoff_ttl_ms is not None and here.begun_at + limits.handoff_ttl_ms <= due.at:
            handoffs.expire(here)
            moved = True
        elif here.close_by and here.close_by <= due.at:
            handoffs.end_grace(here)
            moved = True
    ttl = limits.task_ttl_ms
    if not handoffs.open and ttl is not None and task.last_input_at + ttl <= due.at:
        handoffs.forget_closed(0)
        return None, [*handoffs.outbox.effects(), Increment("tasks_forgotten")]
    effects = handoffs.outbox.effects()
    if not held_back:
        return after_step(handoffs), effects
    following = after_step(handoffs) if moved else task
    later = now + min(max(_SOONEST_MS, (now - min(held_back)) // 10), _LATEST_MS)
    others = [at for h in following.open for _, at in h.waits() if at > due.at]
    if following.waiting:
        others.append(following.wait_until)
    return following, [*effects, PutOff(min([later, *others]))]


def sweep(
    task: Task, tables: RegistrySnapshot, now: int, limits: Limits
) -> tuple[Task, list[Effect]]:
    """Look again at whom the open handoffs go to, and whether what held them is gone."""
    handoffs = without_input(task, tables, now, limits)
    for handoff in task.open:
        if handoffs.outbox.full:
            handoffs.outbox.count(UNFINISHED)
            break
        if handoff.state == "held":
            reevaluate.judge_again(handoffs, handoff)
        else:
            handoffs.look_again(handoff)
    handoffs.trim(weigh=False)
    effects = handoffs.outbox.effects()
    return (after_step(handoffs), effects) if effects else (task, [])
