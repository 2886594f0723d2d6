"""What a change of contracts would do: the differences, and the newest tasks judged once more.

Nothing is registered, written or kept.
"""

import threading
from collections.abc import Sequence
from typing import Final, NamedTuple

import apsw

from console.contract_change import ComparedContract, compared, one_each
from console.contract_trial import ContractTrial, as_if_active, tables
from console.limits import limits
from console.lines import INPUTS, lines_of
from console.replay import Difference, compare
from schemas.loading import DocumentErrors, Documents, load_text
from schemas.yaml_source import Problem
from web.auth.guard import Refusal
from web.auth.people import Person
from web.context import Console, Registered
from web.model.queries.common import Place
from web.model.schema import NUMBER, TOPICS
from web.seen import may_read_task

MOST_CHARACTERS: Final = 100_000
MOST_TASKS: Final = 200
MOST_RECORDS: Final = 2_000
_NAME: Final = "the text"
_WAIT_SECONDS: Final = 10.0
_ONE_AT_A_TIME: Final = threading.Lock()  # it takes a second of the processor that all pages share


class NotTried(ValueError):
    """What was given cannot be tried; the text says why, one problem a line."""


class JudgedAgain(NamedTuple):
    """How the newest tasks went by what is registered, and how they would go. `records` were read;
    `gone` counts those that retention took."""

    difference: Difference
    records: int
    gone: int


def documents_in(text: str) -> Documents:
    """The documents of a YAML text. Raises `NotTried`."""
    if not text.strip():
        raise NotTried("Put in the contract as it would be.")
    if len(text) > MOST_CHARACTERS:
        raise NotTried(
            f"The text is longer than {MOST_CHARACTERS:,} characters; for so much: "
            "handoff contracts diff OLD NEW"
        )
    try:
        found = load_text(text, _NAME)
    except DocumentErrors as error:
        raise NotTried("\n".join(map(_told, error.problems))) from None
    if not found.contracts:
        raise NotTried("The text holds no contract; a contract begins with kind: HandoffContract.")
    return found


def _told(problem: Problem) -> str:
    where = f"Line {problem.line}" if problem.line else "The text"
    about = f", {problem.path}" if problem.path else ""
    told = f"{where}{about}: {problem.message}; {problem.suggestion}"
    if problem.path != "kind":
        return told
    return (
        f"{told}. Contracts (kind: HandoffContract) are tried here, and receivers (kind: Receiver) "
        "beside them."
    )


def changes(new: Documents, registered: Registered) -> list[ComparedContract]:
    """Each contract of the text beside the one that new handoffs take now."""
    now = one_each(registered.contracts.values())
    return [compared(now.get(id_), each) for id_, each in one_each(new.contracts).items()]


def newest(db: apsw.Connection, person: Person, new: Documents) -> tuple[int, list[Place]]:
    """The newest tasks of the contracts' workflows that a person may read: how many, and where
    their inputs lie."""
    tasks, places = 0, list[Place]()
    numbers = ", ".join(str(NUMBER[topic]) for topic in INPUTS)
    workflows = sorted({each.workflow for each in new.contracts})
    for workflow in workflows:
        found = db.execute(
            "select task_id from tasks where workflow = ? order by written desc limit ?",
            (workflow, MOST_TASKS // len(workflows) or 1),
        ).fetchall()
        for task_id in (str(each) for (each,) in found):
            if len(places) >= MOST_RECORDS or not may_read_task(db, person, task_id, workflow):
                continue
            tasks += 1
            places += [
                Place(TOPICS[topic], partition, offset)
                for topic, partition, offset in db.execute(
                    "select topic, partition, offset from events where task_id = ? "
                    f"and topic in ({numbers})",
                    (task_id,),
                )
            ]
    return tasks, places


def judged_again(
    console: Console, new: Documents, registered: Registered, places: Sequence[Place]
) -> JudgedAgain:
    """Judge the inputs at these places twice, as `handoff contracts test` does. Raises
    `CommandError` where they cannot be read, and `Refusal` where others do the same."""
    records = list(console.gate.read(places).values())
    lines = list(lines_of(records))
    now = tuple(registered.contracts.values()), tuple(registered.receivers.values())
    trial = ContractTrial(as_if_active(new), *tables(Documents(*now)))
    within = limits(console.settings)
    if not _ONE_AT_A_TIME.acquire(timeout=_WAIT_SECONDS):
        raise Refusal(503, "Others try changes, too, at the moment. Send it again.")
    try:
        before, after = trial.before(within, lines), trial.after(within, lines)
    finally:
        _ONE_AT_A_TIME.release()
    return JudgedAgain(
        compare(before, after, trial.tried), len(records), len(places) - len(records)
    )
