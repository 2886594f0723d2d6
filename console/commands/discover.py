"""`handoff discover`: draft contracts for what nobody mapped."""

from pathlib import Path

import click

from console import output
from console.discovery import MOST, Drafts, drafts
from console.errors import BadInputError, DeclinedError
from console.observed import observe, sources
from console.render import percent


@click.command(short_help="Draft a contract for each undocumented edge.")
@sources
@click.option(
    "--directory",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write a file for each draft there; none that exists is overwritten.",
)
@click.option(
    "--most",
    metavar="N",
    type=click.IntRange(min=1),
    help=f"So many drafts; else as many as cover most moves, at most {MOST}.",
)
@click.option("--all", "all_", is_flag=True, help="Draft every undocumented edge.")
def discover(
    recording: str | None,
    paths: tuple[str, ...],
    workflow: str | None,
    directory: Path | None,
    most: int | None,
    all_: bool,
) -> None:
    """Draft contracts for undocumented edges, from what was really carried.

    Those that cover most moves come first, until 95 % of the moves are covered or there are 50: one
    for any stage where many stages lead to one place, else one for each pair.

    YAML with the evidence as comments, on standard output. A draft judges nothing, and `contracts
    apply` refuses it until a person has named its owner and written its action.
    """
    found = observe(recording, paths, workflow)
    taken = {each.id for each in found.contracts}
    if all_ or most is not None:
        drafted = drafts(found.edges, taken, None if all_ else most, share=1.0)
    else:
        drafted = drafts(found.edges, taken)
    made, unnameable = drafted.made, drafted.unnameable
    head = _head(drafted)
    with output.ends_cleanly():
        if directory is None:
            for number, draft in enumerate(made):
                output.say(("---\n" if number else head) + draft.text, nl=False)
        else:
            _write(directory, {f"{draft.id}.yaml": draft.text for draft in made})
    for edge in unnameable:
        output.say(
            f"no draft for the edge {edge.from_!r} to {edge.to!r} of {edge.workflow!r}: a contract "
            "cannot name it; let the tool name its stage",
            err=True,
        )
    if made:
        number_of = output.number(len(made), "draft")
        where = f" in {directory}" if directory else ""
        if directory is not None and head:
            output.say(head.removeprefix("# ").rstrip(), err=True)
        output.say(
            f"{number_of}{where}: name an owner, a receiver and an action in each, then see what "
            "it finds with: handoff contracts lint, handoff contracts test",
            err=True,
        )
    elif found.edges and not unnameable:
        output.say("every observed edge is documented", err=True)


def _head(drafted: Drafts) -> str:
    """What the drafts leave out: nothing, where they cover all."""
    if not drafted.left:
        return ""
    return (
        f"# These drafts cover {percent(drafted.covered)} of the undocumented moves. For more: "
        "--most N, --all.\n"
    )


def _write(directory: Path, files: dict[str, str]) -> None:
    there = sorted(name for name in files if (directory / name).exists())
    if there:
        raise DeclinedError(
            f"nothing was written: {directory} has {', '.join(there[:5])}"
            f"{' and others' if len(there) > 5 else ''}; give another directory, or move them away"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"{directory}: cannot be written: {error.strerror or error}") from None
