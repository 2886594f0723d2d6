"""Text that does nothing to a terminal or a log, whatever a record or a document holds.

Names and sentences come from tools and from people. What is not printable in them (by the Unicode
database, as `str.isprintable` has it: C0, DEL and C1 controls with the escapes of terminals, the
controls of writing direction, what has no width, separators of lines and paragraphs) never reaches
a person's screen or a log as it is.
"""

import re
import unicodedata
from collections.abc import Collection

MOST_LISTED = 5
INSTEAD = "\N{REPLACEMENT CHARACTER}"
# In JSON text, whole: a quoted one stands in a string, as nothing else there is outside of ASCII.
_SUSPECT = re.compile(r"[^ -~]")


def listed(names: Collection[str], between: str = ", ") -> str:
    """Names in a message: five of them, and how many more there are."""
    first = list(names)[:MOST_LISTED]
    more = len(names) - len(first)
    return between.join(first) + (f" and {more:,} more" if more else "")


def plain(text: str) -> str:
    """Text in one line: what is not printable becomes a replacement character, or a space."""
    return text if text.isprintable() else "".join(map(_shown, text))


def plain_lines(text: str) -> str:
    """Text of several lines: line feeds stay."""
    if text.isprintable():
        return text
    return "\n".join(map(plain, text.split("\n")))


def plain_json(data: bytes) -> bytes:
    """JSON in one line with what is not printable as \\uXXXX: it says the same (RFC 8259)."""
    text = data.decode()
    return data if text.isprintable() else _SUSPECT.sub(_escaped, text).encode()


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    return " " if unicodedata.category(char) == "Zs" else INSTEAD


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    if char.isprintable():
        return char
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
