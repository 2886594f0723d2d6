"""Tasks that go back and forth: returns are counted for each pair of stages.

A return is a handoff from B to A after one from A to B. Of a pair it is known which way the last
one went, and how many returns there were; of the pairs of a task the last ones are.
"""

from processors.integrity.digests import digest

MAX_PAIRS = 64


def after(
    rounds: dict[bytes, int], stage: str, to_stage: str | None
) -> tuple[dict[bytes, int], int]:
    """The counts after a handoff between two stages, and which return it is (0: none).

    A count holds twice the returns, and in its lowest bit the direction of the last handoff.
    """
    if to_stage is None or stage == to_stage:
        return rounds, 0
    low, high = sorted((stage, to_stage))
    pair = digest(f"{len(low)}:{low}{high}")
    direction = int(stage == low)
    known = rounds.get(pair)
    if known is None:
        kept = list(rounds.items())[1 - MAX_PAIRS :]
        return {**dict(kept), pair: direction}, 0
    if known & 1 == direction:
        return rounds, 0  # sent again, the same way
    returns = (known >> 1) + 1
    return {**rounds, pair: 2 * returns + direction}, returns
