"""Following a path through decoded JSON."""

from decimal import Decimal
from typing import Any

from processors.intake.scope import Scope
from schemas.paths import Path, Step, Where, index_of


def walk(path: Path, scope: Scope) -> tuple[Any, str]:
    """Where a path leads, and how much of it was followed, as it is written."""
    value, told = scope.root(path.top), path.top
    for step in path.rest:
        value = take(value, step)
        if value is None:
            return None, told
        told += written(step)
    return value, told


def written(step: Step) -> str:
    """A step as paths have it."""
    match step:
        case str():
            plain = not any(char in step for char in ".[")
            return f".{step}" if plain else f'."{step}"'
        case Where(member=member, text=text):
            return f"[{member}={text}]"
        case _:
            return f"[{step}]"


def along(value: Any, rest: tuple[Step, ...]) -> Any:
    """Where the steps of a path lead from a value; None where they lead nowhere."""
    for step in rest:
        if value is None:
            return None
        value = take(value, step)
    return value


def take(value: Any, step: Step) -> Any:
    """One step from a value; None where it leads nowhere."""
    if type(value) is dict:
        return value.get(step if isinstance(step, str) else str(step))
    if type(value) is not list:
        return None
    if isinstance(step, Where):
        return next((item for item in value if _fits(item, step)), None)
    index = index_of(step)
    if index is None or not -len(value) <= index < len(value):
        return None
    return value[index]


def _fits(item: Any, where: Where) -> bool:
    if type(item) is not dict:
        return False
    found = item.get(where.member)
    if type(found) is bool:
        return where.text == ("true" if found else "false")
    return isinstance(found, (str, int, float, Decimal)) and str(found) == where.text
