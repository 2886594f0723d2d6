"""Texts with paths in braces, as sources write them: `T-{key.id}`.

    template = { character | "{{" | "}}" | "{" path "}" }

`{{` and `}}` are the braces themselves. The paths are those of `schemas.paths`.
"""

from schemas import paths
from schemas.cel.errors import ExpressionError
from schemas.paths import Path

Part = str | Path


def is_template(text: str) -> bool:
    """Whether a bare text is a template, and no path."""
    return "{" in text or "}" in text


def parse(text: str) -> tuple[Part, ...]:
    """The texts and paths of a template, in order. Raises `ExpressionError` where it is none."""
    parts: list[Part] = []
    plain = ""
    at = 0
    while at < len(text):
        char = text[at]
        if char in "{}" and text[at + 1 : at + 2] == char:
            plain += char
            at += 2
        elif char == "{":
            end = _end(text, at)
            if plain:
                parts.append(plain)
                plain = ""
            parts.append(_path(text, at, end))
            at = end + 1
        elif char == "}":
            raise ExpressionError(
                "this brace closes nothing", "write }} for the character itself", text, at
            )
        else:
            plain += char
            at += 1
    return (*parts, plain) if plain else tuple(parts)


def _end(text: str, begin: int) -> int:
    """Where the brace that opens at a position is closed; braces in quotes do not count."""
    quote = ""
    at = begin + 1
    while at < len(text):
        char = text[at]
        if quote and char == "\\":
            at += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "}":
            return at
        at += 1
    raise ExpressionError(
        "this brace is not closed", "close it, or write {{ for the character itself", text, begin
    )


def _path(text: str, begin: int, end: int) -> Path:
    inside = text[begin + 1 : end]
    try:
        return paths.parse(inside.strip())
    except ExpressionError as error:
        lead = len(inside) - len(inside.lstrip())
        position = min(begin + 1 + lead + error.position, len(text))
        suggestion = error.suggestion
        if not inside.strip():
            suggestion = "write a path between the braces, such as {value.id}"
        raise ExpressionError(error.message, suggestion, text, position) from None
