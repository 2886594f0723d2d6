"""How long insights looks back, and how often it tells: settings, with reasons."""

from msgspec import Struct

from schemas.feed import CLEAN_RUN


class Limits(Struct, frozen=True, gc=False):
    """Times in milliseconds.

    `pattern_window_ms`: violations within it count together, and an entry that was quiet for so
    long is closed. A day: what breaks once a night is still one cause. A contract's `repeat` has a
    window of its own.
    `pattern_settle_ms`: so long a pattern of violations waits before it is opened, because tools
    write in any order: what is mended by then pages nobody.
    `edge_interval_ms`: an edge is published once in it, however often it is moved over; the topic
    is compacted, and nobody reads a map more often.
    `clean_run`: so many handoffs in a row without a field's violation close its pattern, at most
    `CLEAN_RUN`.
    """

    pattern_window_ms: int = 86_400_000
    pattern_settle_ms: int = 10_000
    edge_interval_ms: int = 10_000
    clean_run: int = CLEAN_RUN


DEFAULT_LIMITS = Limits()
