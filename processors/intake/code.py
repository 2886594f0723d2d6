"""Functions that are written for one source, so that a record costs few calls.

Nothing that a document says stands in their text. It is bound to a name with a number (`k1`, `k2`),
and the text has these names and what this package writes: two sources of one structure have one
text. Locals are `v1`, functions `f1`. An entry with `when: value.type == "moved"` and
`team: value.group.name` becomes, among other lines:

    def f9(scope, element):
        try:
            at = k2                             # "emit[0].when"
            if not k1(scope):                   # the condition
                return None
            v4 = scope.value
            v6 = v4.get(k5) if type(v4) is dict else None   # "group"
            v8 = v6.get(k7) if type(v6) is dict else None   # "name"
            at = k3                             # "emit[0].team (value.group.name)"
            ...
            return members
        except Refused as error:
            place(error, at)                    # says which member refused
            raise

What it calls by a name without a number is a helper: `HELPERS` in making.py, `_HELPERS` in
expressions.py.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from schemas.cel.values import MAX_VALUE_DEPTH
from schemas.paths import Path, Step, index_of

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
    does, so no path is followed twice."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.lines: list[str] = []
        self._followed: dict[tuple[Step, ...], str] = {}  # steps from a root on
        self._at = ""  # of the next line that may refuse

    def add(self, *lines: str) -> None:
        """Add lines; they may refuse."""
        if self._at:
            self.lines.append(f"at = {self.code.bind(self._at)}")
            self._at = ""
        self.lines += lines

    def let(self, text: str) -> str:
        """The name of a new local, which gets this value."""
        name = self.code.name("v")
        self.add(f"{name} = {text}")
        return name

    def at(self, where: str) -> None:
        """What is refused from here on is refused there."""
        self._at = where

    def follow(self, path: Path) -> str:
        """The name of where a path leads; None where it leads nowhere."""
        if by_names(path):
            return self._reached((path.top, *path.rest))
        root = self._reached((path.top,))
        return self.let(f"along({root}, {self.code.bind(path.rest)})")

    def _reached(self, steps: tuple[Step, ...]) -> str:
        name = self._followed.get(steps)
        if name is None:
            *before, last = steps
            if before:
                outer = self._reached(tuple(before))
                name = self.code.name("v")
                step = f"{outer}.get({self.code.bind(last)}) if type({outer}) is dict else None"
                self.lines.append(f"{name} = {step}")
            elif last == "value":
                name = self.code.name("v")
                self.lines.append(f"{name} = scope.value")
            else:
                name = self.let(f"scope.root({self.code.bind(last)})")
            self._followed[steps] = name
        return name


def by_names(path: Path) -> bool:
    """Whether a path goes through objects alone, whatever it meets, and no deeper than a value may
    nest."""
    return len(path.rest) <= MAX_VALUE_DEPTH and all(
        isinstance(step, str) and index_of(step) is None for step in path.rest
    )
