"""The judgement of fields: its short way for the most frequent case says what the long one says."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from processors.contracts.compiled import compile_contract
from processors.integrity.context import carry
from processors.integrity.events import EventRef
from processors.integrity.fields import assemble
from processors.integrity.index import Capture, CaptureIndex
from schemas.documents import HandoffContract, parse

DOCUMENT = parse(
    {
        "kind": "HandoffContract",
        "id": "a-to-b",
        "version": 1,
        "owner": {"name": "O", "contact": "o@example.com"},
        "action": "Act.",
        "workflow": "w",
        "from": {"stage": "a"},
        "to": {"receiver": "b"},
        "fields": [
            {"name": "text", "type": "string"},
            {"name": "count", "type": "integer", "weight": 3},
            {"name": "any", "required": False},
            {"name": "other", "from": ["other", "text"]},
            {"name": "renamed", "from": ["text.inner", "renamed"]},
        ],
    }
)
assert isinstance(DOCUMENT, HandoffContract)
CONTRACT = compile_contract(DOCUMENT)
LONG_WAY = replace(CONTRACT, fields=tuple(replace(f, plain=False) for f in CONTRACT.fields))
NOW = EventRef(2, "a", "tool", "now", 200, False, 0, 8)

NAMES = st.sampled_from(["text", "count", "any", "other", "renamed", "extra"])
VALUES = st.sampled_from(
    [b'"words"', b'"wor\\u0064s"', b"1", b"1.0", b"1.5", b"null", b'""', b'{"inner":"x"}', b"[]"]
)


@st.composite
def carried(draw: st.DrawFn) -> tuple[dict[str, bytes], dict[str, Capture]]:
    """A context, and what the task held before: half of it the very values that are sent again."""
    context = draw(st.dictionaries(NAMES, VALUES, min_size=3))
    held = {}
    for name in draw(st.lists(NAMES, unique=True, min_size=3)):
        value = context.get(name) if draw(st.booleans()) else None
        ref = EventRef(1, "s", "earlier", f"e-{name}", 100, False, 0, 7)
        capture = Capture(value or draw(VALUES), ref)
        hashes = draw(st.sampled_from([(), (b"12345678", b"abcdefgh")]))
        alias_of = draw(st.sampled_from([None, "text"]))
        held[name] = replace(capture, hashes=hashes, alias_of=alias_of)
    return context, held


@given(carried())
def test_the_short_way_says_what_the_long_one_says(
    given_: tuple[dict[str, bytes], dict[str, Capture]],
) -> None:
    context, held = given_
    memory = CaptureIndex(held, {})
    short = assemble(CONTRACT, carry(context), memory, NOW)
    long = assemble(LONG_WAY, carry(context), memory, NOW)
    # A finding names its field, which differs here in the way that it is judged by.
    unlike = [replace(f, field=None) for f in short.broken + short.moved]
    assert unlike == [replace(f, field=None) for f in long.broken + long.moved]
    assert msgspec.json.encode(replace(short, broken=[], moved=[])) == msgspec.json.encode(
        replace(long, broken=[], moved=[])
    )
