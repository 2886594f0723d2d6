"""What can be wrong with an expression: its text (`ExpressionError`), or a context under it
(`EvaluationError`)."""

from typing import Final, Literal

ErrorKind = Literal[
    "no_such_member",  # a member that a map has not, or an item that a list has not
    "no_such_overload",  # an operator or a function that these types have not
    "overflow",  # beyond 64 bits
    "divide_by_zero",
    "too_large",  # a concatenation without measure
    "not_boolean",  # the whole expression gave something else than true or false
    "unreadable",  # the member is no JSON that has a meaning here
]

_SHOWN: Final = 100  # characters of a long line that are shown around the place


class ExpressionError(Exception):
    """An expression that cannot be accepted.

    `message` says what is wrong and `suggestion` what to do; `position` counts code points from 0;
    `place` is the line of the text with a caret under the position. `str()` has it all.
    """

    def __init__(self, message: str, suggestion: str, text: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion
        self.position = position
        self.place = _place(text, position)

    def __str__(self) -> str:
        return f"{self.message}; {self.suggestion}\n{self.place}"


class EvaluationError(Exception):
    """An expression that has no result over this context.

    `kind` is a stable word. The text names members and types and never a value.
    """

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind: Final = kind


def _place(text: str, position: int) -> str:
    first = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[first:] if end < 0 else text[first:end]
    column = position - first
    if len(line) > _SHOWN:
        cut = max(0, min(column - _SHOWN // 2, len(line) - _SHOWN))
        before, after = "…" if cut else "", "…" if cut + _SHOWN < len(line) else ""
        line = before + line[cut : cut + _SHOWN] + after
        column += len(before) - cut
    # What moves the cursor, or shows nothing, would part the caret from its place.
    line = "".join(char if char.isprintable() else " " for char in line)
    return f"  {line}\n  {' ' * column}^"
