"""What arguments and results of tools add to the context, and which results are errors."""

import re
from typing import Any

from msgspec import UNSET

from processors.intake.transcripts.trees import unfold, unfold_structure

# How tools and agent frameworks begin a failure that they report as text.
_ERROR_TEXT = re.compile(
    r"\s*(?:(?:\w+\.)*\w*(?:error|exception)\b|an error occurred|traceback \(most recent)", re.I
)
_NO_ERROR: tuple[Any, ...] = (None, False, "", {}, [])
_FAILED = {"error", "failed", "failure"}


def arguments_of(given: Any) -> dict[str, Any]:
    """A call's arguments by name. Arguments that are no JSON object, as models write, are none."""
    found = None if given is UNSET else unfold(given)
    return found if isinstance(found, dict) else {}


def members_of(tool: str, result: Any) -> dict[str, Any] | None:
    """What a result adds to the context, by name; None for an error.

    The result stands whole under the tool's name, and its members under theirs where it is an
    object. JSON in text is read as JSON, other text stays text.
    """
    if result is UNSET:
        return {}
    found = unfold(result)
    if isinstance(found, str) and _ERROR_TEXT.match(found):
        return None
    if found is None or (isinstance(found, str) and not found.strip()):
        return {}
    if isinstance(found, dict):
        if _failed(found):
            return None
        members = {name: unfold_structure(value) for name, value in found.items()}
        return {tool: found, **members}
    return {tool: found}


def _failed(members: dict[str, Any]) -> bool:
    """Whether a result object reports an error: `error` has a value, or a flag says so."""
    return (
        members.get("error") not in _NO_ERROR
        or any(members.get(flag) is True for flag in ("isError", "is_error"))
        or any(members.get(flag) is False for flag in ("success", "ok"))
        or (isinstance(members.get("status"), str) and members["status"].lower() in _FAILED)
    )
