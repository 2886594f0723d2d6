"""Changes one operator of the core at a time and runs the fast tests: which change does none see?

    python -m tests.mutants [FILE[:LINE[-LINE]] ...] [--jobs N]

Each mutant is a copy of the tree in which one comparison, `and`, `or`, `not`, `+` or `-` is another
one. A mutant dies when a test fails, or when the tests take far longer than they do without it.
What survives is told with its place: either a test is missing, or nobody could see the difference.
"""

import argparse
import ast
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from copy import deepcopy
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
COPIED: Final = ("schemas", "topics", "processors", "console", "bench", "examples", "tests")
# The core: whatever files it has.
FILES: Final = ("processors/integrity/*.py", "processors/driver.py", "processors/wakes.py")
# What needs no broker and reaches the core, what kills most in the least time first.
TESTS: Final = (
    "tests/test_scenarios.py",
    "tests/test_wakes.py",
    "tests/test_driver.py",
    "tests/test_life.py",
    "tests/test_limits.py",
    "tests/test_known_events.py",
    "tests/test_simulation.py",
)
# Worlds of the simulation a mutant has to live through, and no defects made on purpose.
SEEDS: Final = "60"
PYTEST: Final = (
    *("-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider"),
    *("-k", "not defect", "-m", "not embedded and not kafka and not docker"),
)
SLOW: Final = 5  # times as long as without a change
SWAPPED: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
}


_NO_NUMBERS: Final = (ast.JoinedStr, ast.List, ast.ListComp, ast.Tuple, ast.Dict, ast.Set)


class Mutant(NamedTuple):
    """One change of a file: its text then, and for people its line and what became of what."""

    file: str
    line: int
    change: str
    source: str


def mutants(file: str, lines: range | None = None) -> Iterator[Mutant]:
    """Every change of a file of the tree, or of some of its lines."""
    tree = ast.parse((ROOT / file).read_text())
    for number, node in enumerate(ast.walk(tree)):
        line = getattr(node, "lineno", 0)
        if lines is not None and line not in lines:
            continue
        for at in range(_places(node)):
            other = deepcopy(tree)
            changed = next(n for i, n in enumerate(ast.walk(other)) if i == number)
            _change(changed, at)
            text = ast.unparse(other)
            yield Mutant(file, line, f"{_short(node)}  ->  {_short(changed)}", text)


def _places(node: ast.AST) -> int:
    """In how many ways a node is changed."""
    match node:
        case ast.Compare(ops=ops):
            return len(ops)
        case ast.BoolOp():
            return 1
        case ast.UnaryOp(op=ast.Not()):
            return 1
        case ast.BinOp(op=ast.Add() | ast.Sub(), left=left, right=right):
            return int(not any(isinstance(side, _NO_NUMBERS) for side in (left, right)))
    return 0


def _change(node: ast.AST, at: int) -> None:
    match node:
        case ast.Compare(ops=ops):
            ops[at] = SWAPPED[type(ops[at])]()  # type: ignore[call-overload]
        case ast.BoolOp() | ast.BinOp():
            node.op = SWAPPED[type(node.op)]()  # type: ignore[assignment]
        case ast.UnaryOp(operand=operand):
            # `not x` becomes `not not x`.
            node.operand = ast.UnaryOp(ast.Not(), operand)


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 90 else text[:87] + "..."


class Tree:
    """A copy of the tree, in which one file at a time is another one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc"))
        shutil.copy(ROOT / "pyproject.toml", folder)

    def survives(self, mutant: Mutant, seconds: float) -> bool:
        """Whether all tests pass with a change."""
        path = self.folder / mutant.file
        before = path.read_text()
        path.write_text(mutant.source)
        try:
            return self.passes(seconds)
        finally:
            path.write_text(before)

    def passes(self, seconds: float | None = None) -> bool:
        """Whether the tests pass, within so many seconds."""
        tests = [name for name in TESTS if (self.folder / name).exists()]
        command = [sys.executable, "-B", "-m", "pytest", *PYTEST, *tests]
        # Found in the copy and nowhere else, and the same examples each time.
        env = os.environ | {
            "PYTHONPATH": str(self.folder),
            "CI": "1",
            "HANDOFF_SEEDS": SEEDS,
        }
        running = subprocess.Popen(
            command,
            cwd=self.folder,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return running.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            return False


def survivors(found: Sequence[Mutant], jobs: int) -> Iterator[Mutant]:
    """Those of the mutants that live, as they are found."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees: SimpleQueue[Tree] = SimpleQueue()
        for number in range(jobs):
            trees.put(Tree(Path(folder) / str(number)))
        first = trees.get()
        began = time.monotonic()
        if not first.passes():
            raise SystemExit("the tests fail without any change")
        seconds = SLOW * (time.monotonic() - began)
        trees.put(first)
        print(f"{len(found)} mutants; the tests take {seconds / SLOW:.0f} s", file=sys.stderr)

        def tried(mutant: Mutant) -> bool:
            tree = trees.get()
            try:
                return tree.survives(mutant, seconds)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(jobs) as pool:
            running = {pool.submit(tried, mutant): mutant for mutant in found}
            for number, ended in enumerate(as_completed(running), start=1):
                if ended.result():
                    yield running[ended]
                if number % 20 == 0:
                    print(f"{number} of {len(found)}", file=sys.stderr, flush=True)


def main() -> int:
    """Try what is asked for; 1 where a mutant survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("files", nargs="*", help="FILE, FILE:LINE or FILE:LINE-LINE")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="only list the changes")
    options = parser.parse_args()
    found: list[Mutant] = []
    for place in options.files or [
        str(path.relative_to(ROOT)) for pattern in FILES for path in sorted(ROOT.glob(pattern))
    ]:
        file, _, lines = place.partition(":")
        first, _, last = lines.partition("-")
        found += mutants(file, range(int(first), int(last or first) + 1) if lines else None)
    if options.list:
        for mutant in found:
            print(f"{mutant.file}:{mutant.line}: {mutant.change}")
        return 0
    living = 0
    for mutant in survivors(found, options.jobs):
        living += 1
        print(f"{mutant.file}:{mutant.line}: {mutant.change}", flush=True)
    print(f"{living} of {len(found)} survive")
    return 1 if living else 0


if __name__ == "__main__":
    sys.exit(main())
