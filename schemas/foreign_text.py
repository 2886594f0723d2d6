"""Text from outside, read in a time that grows with its length alone.

`html.unescape` fails at a number with very many digits, and `unicodedata.normalize` sorts the
combining marks of one character in a time that grows with the square of their number.
"""

import html
import re
import unicodedata
from typing import Final, Literal

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]

MOST_MARKS: Final = 30  # combining marks of one character: no language needs as many
_JOINER: Final = "\u034f"  # COMBINING GRAPHEME JOINER: marks are not sorted across it
_LAST: Final = 0x10FFFF  # the last code point
_REFERENCE: Final = re.compile(r"&(?:#(?:0*([0-9]+)|[xX]0*([0-9a-fA-F]+))|[^\t\n\f <&#;]{1,32});?")


def _is_mark(char: str) -> bool:
    """Whether a character is a combining mark, or one as soon as it is decomposed."""
    return unicodedata.combining(unicodedata.normalize("NFKD", char)[0]) > 0


# What may be such a mark: those of the first plane, and all characters of the second one, as `re`
# is slow with a set of many ranges there.
_MARKS: Final = "".join(filter(_is_mark, map(chr, range(0x300, 0x10000)))) + "\U00010000-\U0001efff"
# Fewer in a row are 30 marks at most: no character is decomposed to more than three of them, nor is
# the one before the row. One stands apart, as `re` finds a set in front fast.
_MAY_BE_LONG: Final = re.compile(f"[{_MARKS}][{_MARKS}]{{9}}")


def unescape(text: str) -> str:
    """A text with its HTML entities as characters. A number that is no code point stays as it is
    written; `html.unescape` makes U+FFFD of it, or fails at its digits."""
    return _REFERENCE.sub(_character, text) if "&#" in text else html.unescape(text)


def _character(found: re.Match[str]) -> str:
    decimal, hexadecimal = found.groups()
    digits, base = (hexadecimal, 16) if decimal is None else (decimal, 10)
    if digits is None:
        return html.unescape(found[0])
    if len(digits) > len(str(_LAST)) or int(digits, base) > _LAST:
        return found[0]
    return html.unescape(f"&#{int(digits, base)};")


def normalized(form: Form, text: str) -> str:
    """A text in a normalization form (Unicode Standard Annex 15). After 30 combining marks in a row
    a U+034F is put in, as in the Stream-Safe Text Format of the same annex, section 13."""
    if text.isascii():
        return text
    if _MAY_BE_LONG.search(text) is None:
        return unicodedata.normalize(form, text)
    decomposed: Form = "NFKD" if form in ("NFKC", "NFKD") else "NFD"
    found: list[str] = []
    marks = 0
    for char in text:
        for each in unicodedata.normalize(decomposed, char):
            marks = marks + 1 if unicodedata.combining(each) else 0
            if marks > MOST_MARKS:
                found.append(_JOINER)
                marks = 1
            found.append(each)
    return unicodedata.normalize(form, "".join(found))
