"""The states that a store holds, decoded."""

from collections.abc import Mapping
from typing import Any

from processors.driver import Driver
from processors.integrity import stored
from processors.integrity.candidates import Candidate, Search
from processors.integrity.processor import INTEGRITY
from processors.integrity.state import Task
from processors.journal import Journal
from processors.processor import Processor


def states(store: Mapping[str, bytes], processor: Processor[Any] = INTEGRITY) -> dict[str, Any]:
    """All states, by key."""
    journal = Journal(processor, dict(store))
    found: dict[str, Any] = {}
    for key in journal.states():
        journal.timers(key)  # this finds what does not fit together
        found[key] = journal.get(key)
    return found


def check_timers(driver: Driver[Any]) -> None:
    """A task that is read for its timers alone is due and watches like the whole one."""
    processor = driver.processor
    for partition in driver.partitions.values():
        whole = states(partition.journal.store, processor)
        journal = Journal(processor, dict(partition.journal.store))
        for key in journal.states():
            bare = journal.timers(key)
            assert processor.due(bare) == processor.due(whole[key])
            assert processor.watched(bare) == processor.watched(whole[key])


def states_of(driver: Driver[Any]) -> dict[str, Any]:
    """Those of all partitions."""
    found: dict[str, Any] = {}
    for partition in driver.partitions.values():
        found |= states(partition.journal.store, driver.processor)
    return found


def tasks_of(driver: Driver[Any]) -> list[Task]:
    """The tasks of the integrity core."""
    return list(states_of(driver).values())


def task_of(driver: Driver[Any]) -> Task:
    """The only task."""
    (task,) = tasks_of(driver)
    return task


def captures(task: Task) -> dict[str, Candidate]:
    """What stands under each name of a task."""
    search = Search(task.events, task.retracted)
    found = {name: search.under(name) for name in search.names()}
    return {name: held.newest for name, held in found.items() if held and held.newest}


def size(driver: Driver[Any]) -> int:
    """The bytes of all tasks, each written whole."""
    return sum(len(stored.encode(task)) for task in tasks_of(driver))
