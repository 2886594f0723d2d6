"""How much work a JSON Schema may be, told from the schema alone.

A validator visits each part of a value with each subschema that applies to it. Written out, with
every `$ref` replaced by what it leads to, a schema of a few lines can be a million subschemas. The
figures here are upper bounds of what one byte of a value costs; they were measured with
jsonschema-rs 0.60, and a unit is some 15 nanoseconds.
"""

from collections.abc import Iterable, Iterator
from math import frexp
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from schemas.patterns import places

At = tuple[str | int, ...]  # the keys and indexes that lead to a subschema

_ONE: Final = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_LISTS: Final = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_MAPS: Final = frozenset({"dependencies", "dependentSchemas", "patternProperties", "properties"})
_DEFINED: Final = frozenset({"$defs", "definitions"})  # applied only where a `$ref` leads
# Applied to the same part of the value as the schema that they stand in.
_IN_PLACE: Final = frozenset(
    {
        "allOf",
        "anyOf",
        "dependencies",
        "dependentSchemas",
        "else",
        "if",
        "not",
        "oneOf",
        "then",
    }
)
_COMPARED: Final = frozenset(
    {"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"}
)
_UNEVALUATED: Final = frozenset({"unevaluatedItems", "unevaluatedProperties"})
_DYNAMIC: Final = frozenset({"$dynamicRef", "$recursiveRef"})
# Schemas of schemas, which the validator brings: they refer to themselves, and to no one else.
_METASCHEMAS: Final = ("http://json-schema.org/", "https://json-schema.org/")

_METASCHEMA_UNITS: Final = 200
_NUMBER_UNITS: Final = 64  # a comparison that is not of two small whole numbers: 1 microsecond
_OPTION_UNITS: Final = 8  # a list or an object of an enum, which is compared member by member
_FORMAT_UNITS: Final = 16  # the dearest: internationalised host names
_UNIQUE_UNITS: Final = 8
# To know what is not evaluated yet, what is applied in place is evaluated again, with all in it.
_AGAIN: Final = 4


class Work(NamedTuple):
    """What one byte of a value costs at most: `units`, and how often a number is compared.

    `unique` says that lists of values are compared with each other. `recursive` and `unevaluated`
    say what the schema is made of.
    """

    units: int = 0
    numbers: int = 0
    unique: bool = False
    recursive: bool = False
    unevaluated: bool = False

    def plus(self, other: "Work", times: int = 1) -> "Work":
        """Both together, the other one so many times."""
        return Work(
            self.units + other.units * times,
            self.numbers + other.numbers * times,
            self.unique or other.unique,
            self.recursive or other.recursive,
            self.unevaluated or other.unevaluated,
        )


class Unbounded(ValueError):
    """A schema of which nobody can tell how much work it is: what, and what to do about it."""

    def __init__(self, message: str, suggestion: str) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


def work(schema: dict[str, Any]) -> Work:
    """The work of a whole schema, one that is valid as such. Raises `Unbounded`."""
    try:
        found = _Counter(schema).of(schema, ())
    except RecursionError:
        raise Unbounded("nests too deep, or its references do", "flatten it") from None
    if found.recursive and found.unevaluated:
        # Each level of a value would be evaluated anew by the one above it, and that one too.
        raise Unbounded(
            "refers to itself ($ref) and asks for what is not evaluated yet (unevaluatedItems, "
            "unevaluatedProperties): the time doubles with each level of a value",
            "write additionalProperties or items in their place, or write the levels out",
        )
    # What refers to itself is evaluated where it stands, and once more for all that refer to it.
    return found.plus(found) if found.recursive else found


class _Counter:
    """Adds up, with each reference followed."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._id = "id" if "draft-04" in str(root.get("$schema")) else "$id"
        self._anchors = {
            anchor: node
            for _, node in subschemas(root)
            for name in ("$anchor", "$dynamicAnchor")
            if isinstance(anchor := node.get(name), str)
        }
        self._known: dict[int, Work] = {}
        self._open: set[int] = set()

    def of(self, node: Any, at: At) -> Work:
        """The work of a subschema with all that it leads to."""
        if not isinstance(node, dict):
            return Work(1)
        if id(node) in self._open:
            # What a value came to under a schema that refers to itself, the validator remembers.
            return Work(1, recursive=True)
        found = self._known.get(id(node))
        if found is None:
            self._open.add(id(node))
            found = self._known[id(node)] = self._count(node, at)
            self._open.discard(id(node))
        return found

    def _count(self, node: dict[str, Any], at: At) -> Work:
        if node is not self._root and isinstance(node.get(self._id), str):
            raise Unbounded(
                f"has an {self._id} at {shown(at)}, which changes where the references in it lead",
                "remove it, and refer to '#/$defs/NAME'",
            )
        unevaluated = not _UNEVALUATED.isdisjoint(node)
        again = _AGAIN if unevaluated else 1
        found = _own(node).plus(Work(unevaluated=unevaluated))
        for step, inner in _applied(node):
            times = again if step[0] in _IN_PLACE else 1
            found = found.plus(self.of(inner, (*at, *step)), times)
        if isinstance(reference := node.get("$ref"), str):
            found = found.plus(self._referred(reference, at), again)
        if not _DYNAMIC.isdisjoint(node):
            found = found.plus(Work(1, recursive=True))
        return found

    def _referred(self, reference: str, at: At) -> Work:
        if reference.startswith(_METASCHEMAS):
            return Work(_METASCHEMA_UNITS, recursive=True)
        base, _, fragment = reference.partition("#")
        fragment = unquote(fragment)
        node: Any = self._root
        if base not in ("", self._root.get(self._id)):
            node = None
        elif fragment in self._anchors:
            node = self._anchors[fragment]
        elif fragment:
            first, *steps = fragment.split("/")
            node = self._root if not first else None
            for step in steps:
                node = _inside(node, step.replace("~1", "/").replace("~0", "~"))
        if node is None:
            raise Unbounded(
                f"the reference {reference[:80]!r} at {shown(at)} leads where nobody can follow",
                "write it as '#/$defs/NAME'",
            )
        return self.of(node, (reference,))


def _inside(node: Any, step: str) -> Any:
    """What a step of a JSON pointer leads to (RFC 6901, section 4), None where to nothing."""
    if isinstance(node, dict):
        return node.get(step)
    if isinstance(node, list) and step.isdecimal() and int(step) < len(node):
        return node[int(step)]
    return None


def subschemas(schema: Any, at: At = ()) -> Iterator[tuple[At, dict[str, Any]]]:
    """Every subschema that is an object, and where it stands; definitions too."""
    if not isinstance(schema, dict):
        return
    yield at, schema
    inside = list(_applied(schema))
    for name in _DEFINED & schema.keys():
        if isinstance(schema[name], dict):
            inside += [((name, key), each) for key, each in schema[name].items()]
    for step, inner in inside:
        yield from subschemas(inner, (*at, *step))


def patterns(node: dict[str, Any]) -> Iterator[tuple[At, str]]:
    """The regular expressions of one subschema itself, and where they stand in it."""
    if isinstance(pattern := node.get("pattern"), str):
        yield ("pattern",), pattern
    if isinstance(members := node.get("patternProperties"), dict):
        for pattern in members:
            yield ("patternProperties",), pattern


def shown(at: At) -> str:
    """A place in a schema for people."""
    return ".".join(map(str, at)) or "its top"


def _applied(node: dict[str, Any]) -> Iterator[tuple[At, Any]]:
    """The subschemas right below one, but for definitions."""
    for name, value in node.items():
        if name in _LISTS and isinstance(value, list):
            for i, each in enumerate(value):
                yield (name, i), each
        elif name in _ONE and isinstance(value, (dict, bool)):
            yield (name,), value
        elif name in _MAPS and isinstance(value, dict):
            for key, each in value.items():
                if isinstance(each, (dict, bool)):
                    yield (name, key), each


def _own(node: dict[str, Any]) -> Work:
    """The work of a subschema's own keywords."""
    units, numbers, unique = 1, 0, False
    for name, value in node.items():
        if name in _COMPARED:
            numbers += 1
            if name == "multipleOf" and type(value) is float:
                # Divided exactly: as many binary places behind the point, as many steps.
                units += max(-frexp(value)[1], 0)
        elif name == "const":
            numbers += _numbers([value])
            units += _OPTION_UNITS
        elif name == "enum" and isinstance(value, list):
            if {type(each) for each in value} not in ({str}, {int}):  # else they are hashed
                numbers += _numbers(value)
                units += 2 * len(value) + _OPTION_UNITS * sum(map(_leaves, value))
        elif name == "uniqueItems":
            unique = value is True
            units += _UNIQUE_UNITS if unique else 0
        elif name == "format":
            units += _FORMAT_UNITS
        elif name == "required" and isinstance(value, list):
            units += len(value)
        elif name in ("dependentRequired", "dependencies") and isinstance(value, dict):
            units += sum(len(each) for each in value.values() if isinstance(each, list))
    units += sum(places(pattern) + 1 for _, pattern in patterns(node))
    return Work(units + _NUMBER_UNITS * numbers, numbers, unique)


def _numbers(values: Iterable[Any]) -> int:
    return sum(type(each) in (int, float) for each in _flat(values))


def _leaves(value: Any) -> int:
    return sum(1 for _ in _flat([value])) if isinstance(value, (dict, list)) else 0


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """Values with all that is in them."""
    pending = list(values)
    while pending:
        each = pending.pop()
        yield each
        if isinstance(each, dict):
            pending.extend(each.values())
        elif isinstance(each, list):
            pending.extend(each)
