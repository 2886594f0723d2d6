"""YAML for people to read and to apply again. What is not printable stands in it escaped."""

import io
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
# Words that YAML 1.1 or 1.2 reads as a truth value or as nothing.
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def scalar(text: str) -> str:
    """Text as a YAML scalar in one line, plain where that cannot be misread, also in a comment."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(map(_quoted, text)) + '"'


def document(data: Any) -> str:
    """Plain data as a YAML document."""
    text = io.StringIO()
    YAML().dump(_with_quotes(data), text)
    # Only what stands in double quotes has these, and there an escape says the same.
    return "\n".join("".join(map(_escaped, line)) for line in text.getvalue().split("\n"))


def _with_quotes(data: Any) -> Any:
    """The same data; texts in double quotes where an escape is needed."""
    match data:
        case dict():
            return {_with_quotes(key): _with_quotes(value) for key, value in data.items()}
        case list():
            return [_with_quotes(item) for item in data]
        case str() if not data.isprintable():
            return DoubleQuotedScalarString(data)
        case _:
            return data


def _quoted(char: str) -> str:
    return f"\\{char}" if char in '"\\' else _escaped(char)


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )
