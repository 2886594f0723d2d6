"""The words of an expression: the lexis of CEL's language definition, in the subset."""

import re
from dataclasses import dataclass
from typing import Final, Literal, NoReturn

from schemas.cel.errors import ExpressionError

MAX_LENGTH: Final = 4096  # code points; longer logic belongs into a tool

TokenKind = Literal["name", "int", "double", "string", "symbol", "end"]

_INT64_MAX: Final = 2**63 - 1
_TOKEN: Final = re.compile(
    r"""
    (?P<space>(?:[ \t\n\f\r]|//[^\n]*)+)
  | (?P<string>[bB]?[rR]?(?:'|"))
  | (?P<double>[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)
  | (?P<int>0x[0-9a-fA-F]+|[0-9]+)
  | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<symbol>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]])
    """,
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(
    r"""(?P<same>[\\?"'`])|(?P<letter>[abfnrtv])|(?P<octal>[0-3][0-7]{2})"""
    r"|[xX](?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})"
)
_LETTERS: Final = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))
_OTHER_SPELLINGS: Final = {
    "=": "compare with '=='",
    "&": "write 'and' as '&&'",
    "|": "write 'or' as '||'",
    "`": 'write a member with other characters than letters as context["..."]',
    "{": "map literals are not in this subset of CEL; compare member by member",
    "}": "map literals are not in this subset of CEL; compare member by member",
}


@dataclass(frozen=True, slots=True)
class Token:
    """A word and where it stands (code points, `end` exclusive).

    `value` is the number or the text that a literal means; for the rest it is the word itself. An
    int may be 2**63, which only a minus before it brings into its range.
    """

    kind: TokenKind
    value: str | int | float
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """The words of an expression, and one of the kind `end`. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"the expression has {len(text):,} characters, the limit is {MAX_LENGTH:,}",
            "split it into several rules, or let a tool compute it",
            text,
            MAX_LENGTH,
        )
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            refuse_character(text, at)
        kind = match.lastgroup
        word = match.group()
        if kind == "string":
            token = _string(text, at, word)
        elif kind == "space":
            at = match.end()
            continue
        elif kind == "int":
            token = Token("int", _int(text, match), at, match.end())
        elif kind == "double":
            token = Token("double", _double(text, match), at, match.end())
        else:
            token = Token("name" if kind == "name" else "symbol", word, at, match.end())
        found.append(token)
        at = token.end
    found.append(Token("end", "", len(text), len(text)))
    return found


def refuse_character(text: str, at: int) -> NoReturn:
    """Refuse a character that begins no word."""
    char = text[at]
    shown = repr(char) if char.isprintable() else f"U+{ord(char):04X}"
    suggestion = _OTHER_SPELLINGS.get(char, "remove it, or put text in quotes")
    raise ExpressionError(f"{shown} means nothing here", suggestion, text, at)


def _int(text: str, match: re.Match[str]) -> int:
    word, at = match.group(), match.start()
    if text[match.end() : match.end() + 1] in ("u", "U"):
        raise ExpressionError(
            "unsigned numbers are not in this subset of CEL",
            "leave the 'u' out",
            text,
            match.end(),
        )
    value = int(word, 16) if word.startswith("0x") else int(word)
    if value > _INT64_MAX + 1:
        raise ExpressionError(
            "this whole number does not fit into 64 bits",
            "write a smaller one, or a double such as 1e19",
            text,
            at,
        )
    return value


def _double(text: str, match: re.Match[str]) -> float:
    value = float(match.group())
    if value == float("inf"):
        raise ExpressionError(
            "this number is too large for a double", "write a smaller one", text, match.start()
        )
    return value


def _string(text: str, start: int, opening: str) -> Token:
    if opening[0] in "bB":
        raise ExpressionError(
            "bytes are not in this subset of CEL", "leave the 'b' out", text, start
        )
    raw = opening[0] in "rR"
    quote = opening[-1]
    at = start + len(opening)
    if text.startswith(quote * 2, at):
        quote *= 3
        at += 2
    parts: list[str] = []
    while not text.startswith(quote, at):
        if at >= len(text) or (len(quote) == 1 and text[at] in "\r\n"):
            raise ExpressionError(
                "this string has no end", f"close it with {quote}", text, start + len(opening) - 1
            )
        if text[at] == "\\" and not raw:
            char, at = _escape(text, at)
        else:
            char, at = text[at], at + 1
        if "\ud800" <= char <= "\udfff":
            raise ExpressionError(
                "this is half a character (a surrogate)", "write the whole one", text, at - 1
            )
        parts.append(char)
    return Token("string", "".join(parts), start, at + len(quote))


def _escape(text: str, at: int) -> tuple[str, int]:
    match = _ESCAPE.match(text, at + 1)
    if match is None:
        raise ExpressionError(
            "this backslash begins no escape that CEL knows",
            r"write \\ for a backslash itself, or the string as r'...'",
            text,
            at,
        )
    if match["same"]:
        return match["same"], match.end()
    if match["letter"]:
        return _LETTERS[match["letter"]], match.end()
    digits = match["x"] or match["u"] or match["long"]
    code = int(match["octal"], 8) if match["octal"] else int(digits, 16)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise ExpressionError(
            "this escape names no character",
            r"give the code point of a whole one, such as \U0001F600",
            text,
            at,
        )
    return chr(code), match.end()
