"""What the code of entries calls: values that become members of outputs, acks and alert actions.

What fails is told of the member at which the code is (`at`), so nothing here knows where it is.
"""

from typing import Any, Final, NoReturn

from processors.intake.times import time_ms
from processors.intake.values import free_text, kind_of, name_text
from schemas.flow import Record, Refused
from schemas.records import MAX_NAME_BYTES, MAX_REASON_BYTES

MAX_TASKS: Final = 16  # that one output names
SHORT: Final = MAX_NAME_BYTES // 4  # so many characters always have room in a name


def place(error: Refused, where: str) -> None:
    """Say where it was, before what it says."""
    error.reword(f"{where}: {error.message}")


def name(value: Any) -> str | None:
    """A name: text of at most 512 bytes. Raises `Refused`."""
    text = name_text(value)
    if text is not None and len(text) > SHORT:
        check_length(text)
    return text


def needed(value: Any) -> str:
    """A name that must be there. Raises `Refused`."""
    text = name(value)
    if text is None:
        missing()
    return text


def missing() -> NoReturn:
    """Refuse what is not there."""
    raise Refused("member_missing", "leads to nothing, and it must be there")


def check_length(text: str, most: int = MAX_NAME_BYTES) -> None:
    """Raise `Refused` for a text of more bytes."""
    length = len(text.encode())
    if length > most:
        raise Refused("member_too_long", f"has {length:,} bytes, the limit is {most:,}")


def id_of_record(source: str, record: Record) -> str:
    """The id of what names no event."""
    return f"{source}:{record.topic}:{record.partition}:{record.offset}"


def one_of(value: Any, known: tuple[str, ...]) -> str:
    """A name that must be one of those that are known. Raises `Refused`."""
    text = needed(value)
    if text not in known:
        known_ = ", ".join(known)
        raise Refused("member_malformed", f"is none of {known_}; translate it with a look-up")
    return text


def reason(value: Any) -> str | None:
    """The reason of an ack. Raises `Refused`."""
    text = free_text(value)
    check_length(text or "", MAX_REASON_BYTES)
    return text


def no_reason() -> NoReturn:
    """Refuse an ack that rejects for no reason."""
    message = "what is rejected needs a reason, and there is none; say ack.reason"
    raise Refused("member_missing", message)


def spread(value: Any, without: frozenset[str]) -> dict[str, Any]:
    """The members of an object that come into the context. Raises `Refused`."""
    if value is None:
        return {}
    if type(value) is not dict:
        raise Refused("member_malformed", f"is {kind_of(value)}, not an object")
    return {
        name: found for name, found in value.items() if found is not None and name not in without
    }


def tasks(value: Any, workflow: dict[str, str]) -> list[dict[str, Any]]:
    """Other tasks, as an output names them; of what leads to nothing none. Raises `Refused`."""
    listed = value if isinstance(value, list) else [value]
    if len(listed) > MAX_TASKS:
        message = f"leads to {len(listed):,} tasks, and {MAX_TASKS} may be named"
        raise Refused("member_malformed", message)
    return [{"task_id": text, **workflow} for each in listed if (text := name(each))]


# What the code of entries calls by name, beside what that of expressions does.
HELPERS: Final = {
    "check_length": check_length,
    "id_of_record": id_of_record,
    "missing": missing,
    "name": name,
    "needed": needed,
    "no_reason": no_reason,
    "one_of": one_of,
    "place": place,
    "reason": reason,
    "spread": spread,
    "tasks": tasks,
    "time_ms": time_ms,
}
