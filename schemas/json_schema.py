"""JSON Schemas of contracts, compiled so that to judge a value by one takes a bounded time.

The validator holds the interpreter's lock while it works: no signal is obeyed, and no web page
answers. So what one question may cost is bounded, to some two seconds (of one core) at worst:

- Patterns run on a linear engine. A pattern that it does not understand is refused.
- A schema has a weight (`schemas.schema_work`). One that is too heavy for any value is refused, and
  so is one whose weight nobody can tell.
- Weight x length of a value is bounded. A value beyond that is none that the schema asks for; up to
  1 KiB each schema takes, a schema of a hundred subschemas takes a whole record.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import jsonschema_rs
import msgspec

from schemas.patterns import LINEAR, is_linear, needs_backtracking, places
from schemas.schema_work import Unbounded, patterns, shown, subschemas, work

MAX_WORK: Final = 1 << 27  # units (of some 15 ns) x bytes of a value
MAX_UNITS: Final = MAX_WORK >> 10
# Numbers that are no doubles and no small integers are compared digit by digit, in 60 microseconds.
MAX_ODD: Final = 1 << 15
# As members of a list they all have one hash: whether they are unique takes each with each.
MAX_ODD_UNIQUE: Final = 1 << 10
# So much of two seconds is spent on the values that a contract itself names, to lint or compare it.
MOST_TRIED: Final = 1 / 8
MANY_PLACES: Final = 5_000  # fewer are taken by the engine, whatever they are
_LONGEST_REASON: Final = 300  # characters: the validator quotes what is wrong, however long it is
_ODD: Final = re.compile(rb"\d{16}|\d[eE]")

_decode = msgspec.json.Decoder().decode


class SchemaError(ValueError):
    """A schema that cannot be used. `message` says what is wrong, `suggestion` what to do."""

    def __init__(self, message: str, suggestion: str) -> None:
        super().__init__(f"{message}; {suggestion}")
        self.message = message
        self.suggestion = suggestion


class Validator:
    """A compiled schema. `largest` is the length in bytes of the longest value that it judges."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Raises `SchemaError`."""
        self._validator = _validator(schema)
        try:
            weight = work(schema)
        except Unbounded as error:
            raise SchemaError(error.message, error.suggestion) from None
        if weight.units > MAX_UNITS:
            raise SchemaError(
                f"is too much work: {weight.units:,} steps for one part of a value, with all "
                f"references and repetitions written out, and the limit is {MAX_UNITS:,}",
                "make it smaller: fewer repetitions ({1,1000}) in patterns, fewer references, or "
                "the finer checks as rules",
            )
        self.largest: Final = MAX_WORK // weight.units
        self._most_odd: int = MAX_ODD // max(weight.numbers, 1)
        if weight.unique:
            self._most_odd = min(self._most_odd, MAX_ODD_UNIQUE)
        self._looks_at_numbers = weight.unique or weight.numbers > 0

    def fits(self, value: bytes) -> bool:
        """Whether a value, as raw JSON, is as the schema says.

        It is not where it is too large to be judged in time, or unreadable for Python.
        """
        if len(value) > self.largest:
            return False
        try:
            decoded = _decode(value)
            if self._looks_at_numbers and self._too_odd(value, decoded):
                return False
            return bool(self._validator.is_valid(decoded))
        except (ValueError, RecursionError, OverflowError):
            return False

    def cost(self, value: bytes) -> float:
        """What `fits` may cost at most: 1 is some two seconds, 0 that it is too large anyway."""
        return len(value) / self.largest if len(value) <= self.largest else 0.0

    def _too_odd(self, value: bytes, decoded: Any) -> bool:
        # The shortest odd number has four characters with what parts it from the next one.
        if len(value) // 4 <= self._most_odd or _ODD.search(value) is None:
            return False
        return sum(1 for _ in _odd(decoded)) > self._most_odd


def _odd(value: Any) -> Iterator[Any]:
    """The numbers in a value that are none of those that are compared at once."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            pending.extend(each.values())
        elif isinstance(each, list):
            pending.extend(each)
        elif type(each) is int:
            if not -(2**53) < each < 2**53:
                yield each
        elif type(each) is float and each and not 1e-9 < abs(each) < 2**53:
            yield each


def _validator(schema: dict[str, Any]) -> Any:
    try:
        # A contract is complete in itself: what it means must not change with somebody's web site.
        return jsonschema_rs.validator_for(schema, retriever=_refuse_remote, pattern_options=LINEAR)
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        _refuse_patterns(schema)
        reason = str(getattr(error, "message", None) or error).splitlines()[0][:_LONGEST_REASON]
        where = ".".join(str(step) for step in getattr(error, "instance_path", ()))
        raise SchemaError(
            f"not a valid JSON Schema{f' at {where}' if where else ''}: {reason}",
            "correct it (https://json-schema.org/draft/2020-12)",
        ) from None


def _refuse_remote(uri: str) -> NoReturn:
    raise ValueError(f"the reference {uri!r} leads out of the contract")


def _refuse_patterns(schema: dict[str, Any]) -> None:
    """Raise `SchemaError` for a pattern that is one, and yet none for the linear engine."""
    for at, node in subschemas(schema):
        for step, pattern in patterns(node):
            if is_linear(pattern):
                continue
            name = f"the pattern {pattern[:80]!r} at {shown((*at, *step))}"
            if what := needs_backtracking(pattern):
                raise SchemaError(
                    f"{name} has {what}: only an engine that goes back and tries again "
                    "understands that, and it may never end",
                    "write it without look-ahead, look-behind and back-references: as several "
                    "patterns (allOf, not), or as a rule",
                )
            if (written_out := places(pattern)) > MANY_PLACES:
                raise SchemaError(
                    f"{name} has {written_out:,} places with its repetitions written out, which "
                    "is more than the engine takes",
                    "give smaller repetitions",
                )
