"""Cells and sentences of pages, as HTML."""

from __future__ import annotations

import pytest

from web.tables import Cell, Column, Table, row
from web.text import with_commands


@pytest.mark.parametrize(
    ("cell", "broken"),
    [
        (Cell("platform-engineering"), False),
        (Cell("many words of some letters each, and more of them than thirty"), False),
        (Cell("x" * 30), False),
        (Cell("x" * 31), True),
        (Cell("short", "to " + "x" * 31), True),
        (Cell("x" * 31, "short"), False),
        (Cell(10**40), False),
        (Cell(None), False),
    ],
)
def test_only_a_word_that_no_column_has_room_for_is_broken(cell: Cell, broken: bool) -> None:
    assert cell.long is broken
    body = Table("a", "A", [Column("A"), Column("B")], [row("1", cell, "x")]).body()
    assert ('<th scope="row" class="text long">' in body) is broken
    assert '<td class="text"><bdi>x</bdi></td>' in body


@pytest.mark.parametrize(
    ("sentence", "task", "html"),
    [
        ("no <command>", "t-1", "no &lt;command&gt;"),
        ("`handoff show TASK`: where", "t-1", "<code>handoff show t-1</code>: where"),
        ("TASK stays, `a TASK` not", "t-1", "TASK stays, <code>a t-1</code> not"),
        ("`handoff show TASK`", None, "<code>handoff show TASK</code>"),
        ("`show TASK`", "$(x) <b>", "<code>show &#39;$(x) &lt;b&gt;&#39;</code>"),
        ("`show TASK`", "a\x1b[31m'b", "<code>show &#39;a\N{REPLACEMENT CHARACTER}[31m"
         "&#39;&#34;&#39;&#34;&#39;b&#39;</code>"),
    ],
)  # fmt: skip
def test_a_command_names_the_task_as_a_shell_reads_it(
    sentence: str, task: str | None, html: str
) -> None:
    assert with_commands(sentence, task) == html
