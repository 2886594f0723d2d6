"""Functions that are written for one source, so that a record costs few calls.

Nothing that a document says stands in their text. It is bound to a name of a number (`k1`, `k2`),
and the text has these names and what this package writes: two sources of one structure have one
text. An entry with `when: value.type == "moved"` and `team: value.group.name` becomes, among
other lines:

    def f9(scope, element):
        try:
            at = k1                             # "emit[0].when"
            if not k2(scope):                   # the condition
                return None
            at = k3                             # "emit[0].team (value.group.name)"
            v4 = scope[k5]                      # "value"
            try:
                v8 = v4[k6].get(k7)             # "group", "name"
            except leads_nowhere:
                v8 = None
            ...
            return members
        except Refused as error:
            place(error, at)                    # says which member refused
            raise

What has neither `k`, `v` nor `f` and a number is a helper: `HELPERS` in making.py, `_HELPERS` in
expressions.py.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from schemas.cel.values import MAX_VALUE_DEPTH
from schemas.paths import Path, index_of

_FILE: Final = "a source"  # what a traceback calls the text
_INDENT: Final = "    "


class Code:
    """The functions of one source. `helpers` are what their text may call by name."""

    def __init__(self, helpers: Mapping[str, Any]) -> None:
        self._names: dict[str, Any] = {"__name__": __name__, **helpers}
        self._count = 0

    def name(self, kind: str) -> str:
        """A name that is new: of a local (`v`), of what is bound (`k`), of a function (`f`)."""
        self._count += 1
        return f"{kind}{self._count}"

    def bind(self, value: Any) -> str:
        """The name of a value."""
        name = self.name("k")
        self._names[name] = value
        return name

    def function(
        self, lines: Iterable[str], parameters: str = "scope", *, tells: str = "", last: str = ""
    ) -> str:
        """Write a function, and give its name. Where its lines raise `Refused`, the helper `tells`
        is called with the error and `at`, and it is raised again. What the line `last` raises,
        which comes after them, is not told so."""
        name = self.name("f")
        if tells:
            lines = [
                "try:",
                *(_INDENT + line for line in lines),
                "except Refused as error:",
                f"{_INDENT}{tells}(error, at)",
                f"{_INDENT}raise",
            ]
        text = [f"def {name}({parameters}):", *(_INDENT + line for line in (*lines, last) if line)]
        exec(compile("\n".join(text), _FILE, "exec"), self._names)
        return name

    def made(self, name: str) -> Any:
        """The function of a name."""
        return self._names[name]


class Body:
    """The lines of a function, one after the other: what stands before a line has run when the line
    does, so a root is read once."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.lines: list[str] = []
        self._roots: dict[str, str] = {}

    def add(self, *lines: str) -> None:
        """Add lines."""
        self.lines += lines

    def let(self, text: str) -> str:
        """The name of a new local, which gets this value."""
        name = self.code.name("v")
        self.add(f"{name} = {text}")
        return name

    def at(self, where: str) -> None:
        """What is refused from here on is refused there."""
        self.add(f"at = {self.code.bind(where)}")

    def follow(self, path: Path) -> str:
        """The name of where a path leads; None where it leads nowhere. What has no members has no
        `get` either."""
        root = self._roots.get(path.top)
        if root is None:
            root = self._roots[path.top] = self.let(f"scope[{self.code.bind(path.top)}]")
        if not path.rest:
            return root
        if not by_names(path):
            return self.let(f"along({root}, {self.code.bind(path.rest)})")
        *before, last = map(self.code.bind, path.rest)
        if not before:
            return self.let(f"{root}.get({last}) if type({root}) is dict else None")
        name = self.code.name("v")
        inner = "".join(f"[{step}]" for step in before)
        self.add(
            "try:",
            f"{_INDENT}{name} = {root}{inner}.get({last})",
            "except leads_nowhere:",
            f"{_INDENT}{name} = None",
        )
        return name


def by_names(path: Path) -> bool:
    """Whether a path goes through objects alone, whatever it meets, and no deeper than a value may
    nest: the compiler of Python has its limit, too."""
    return len(path.rest) <= MAX_VALUE_DEPTH and all(
        isinstance(step, str) and index_of(step) is None for step in path.rest
    )
