"""A source made ready for its records: paths, templates and conditions as closures."""

from dataclasses import dataclass

from schemas.sources import Source


@dataclass(frozen=True)
class CompiledSource:
    """A source ready to map records.

    `workflows` are those that it writes to; None where a record decides that.
    """

    source: Source
    workflows: frozenset[str] | None


def compile_source(source: Source) -> CompiledSource:
    """Compile a source. Raises ExpressionError for one that lint refuses, and for no other."""
    return CompiledSource(source, None)
