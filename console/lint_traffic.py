"""What `contracts lint` says of a recording: paths that lead nowhere in its outputs. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator

from processors.contracts import values
from schemas import lint, paths
from schemas.documents import HandoffContract
from schemas.loading import Documents
from schemas.paths import Path
from schemas.records import ToolOutput
from schemas.yaml_source import Problem


class _PathSeen:
    """How often a path of a contract began, and how often it led to something."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.began = self.led = 0

    def look(self, context: dict[str, bytes]) -> None:
        value, top = values.at(context, self.path)
        self.began += top in context
        self.led += value is not None


def unled(documents: Documents, outputs: Iterable[ToolOutput]) -> list[Problem]:
    """A hint for each path into objects and lists that leads nowhere in the outputs of its
    contract's workflow, and for a contract of whose workflow there is no output."""
    contracts = lint.in_play(documents.contracts)
    told: dict[str, dict[str, _PathSeen]] = {}
    for contract in contracts:
        of_workflow = told.setdefault(contract.workflow, {})
        for field in contract.fields:
            for name in field.from_:
                path = paths.read(name)
                if path.rest and name not in of_workflow:
                    of_workflow[name] = _PathSeen(path)
    seen: Counter[str] = Counter()
    for output in outputs:
        of = told.get(output.workflow)
        if of is not None:  # a workflow without such paths has outputs, too
            seen[output.workflow] += 1
            context = {name: bytes(raw) for name, raw in output.context.items()}
            for each in of.values():
                each.look(context)
    found: list[Problem] = []
    for contract in contracts:
        if number := seen[contract.workflow]:
            found += _hints(contract, told[contract.workflow], number, documents)
        else:
            what = f"the recording has no output of the workflow {contract.workflow!r}"
            location = documents.location(contract)
            found.append(
                location.problem(("workflow",), what, "correct it, or record some", "hint")
            )
    return found


def _hints(
    contract: HandoffContract, told: dict[str, _PathSeen], number: int, documents: Documents
) -> Iterator[Problem]:
    for i, field in enumerate(contract.fields):
        for name in field.from_:
            each = told.get(name)
            if each is None or each.led:
                continue
            top = each.path.top
            if each.began:
                what = f"leads nowhere, though {top!r} came {_times(each.began)}"
            else:
                what = f"leads nowhere: {top!r} never came"
            yield documents.location(contract).problem(
                ("fields", i),
                f"the path {name!r} {what} (outputs of {contract.workflow!r}: {number:,})",
                "correct it, or record more",
                "hint",
            )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
