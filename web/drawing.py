"""Where the nodes of the map stand: in layers, from left to right, in the direction of the work.

Layers are those of the longest path (edges that lead back do not count); within a layer nodes are
ordered by the mean place of their neighbours (barycenter), beginning in the order of their names.
Both depend on the edges alone, so that a map is drawn the same each time. Pure.
Sugiyama, Tagawa, Toda: Methods for visual understanding of hierarchical system structures (1981).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

Node = tuple[str, str]  # workflow and name
Link = tuple[Node, Node]

WIDTH: Final = 220  # of a layer
HEIGHT: Final = 46  # of a row
BOX: Final = 150, 30
_SWEEPS: Final = 8


class Placed(NamedTuple):
    """A node and its middle."""

    node: Node
    x: int
    y: int


def placed(links: Iterable[Link]) -> tuple[list[Placed], int, int]:
    """The nodes of some links, and how wide and high the drawing is."""
    links = sorted(set(links))
    layer = layers(links)
    rows = ordered(layer, links)
    found = [
        Placed(node, number * WIDTH + BOX[0] // 2 + 10, at * HEIGHT + HEIGHT // 2 + 10)
        for number, nodes in enumerate(rows)
        for at, node in enumerate(nodes)
    ]
    high = max((len(nodes) for nodes in rows), default=0)
    return found, max(len(rows) - 1, 0) * WIDTH + BOX[0] + 20, high * HEIGHT + 20


def layers(links: Sequence[Link]) -> dict[Node, int]:
    """The layer of each node: the longest way to it from a beginning."""
    after: dict[Node, list[Node]] = {}
    for begin, end in links:
        after.setdefault(begin, []).append(end)
        after.setdefault(end, [])
    inner = {end for _, end in links}
    order: list[Node] = []
    forward: set[Link] = set()
    state: dict[Node, int] = {}  # 1: on the way here, 2: done
    for first in sorted(after, key=lambda node: (node in inner, node)):
        if first in state:
            continue
        state[first] = 1
        way = [(first, iter(after[first]))]
        while way:
            node, rest = way[-1]
            following = next(rest, None)
            if following is None:
                state[node] = 2
                order.append(node)
                way.pop()
            elif state.get(following) != 1:
                forward.add((node, following))
                if following not in state:
                    state[following] = 1
                    way.append((following, iter(after[following])))
    found = dict.fromkeys(after, 0)
    for node in reversed(order):
        for following in after[node]:
            if (node, following) in forward:
                found[following] = max(found[following], found[node] + 1)
    return found


def ordered(layer: Mapping[Node, int], links: Sequence[Link]) -> list[list[Node]]:
    """The nodes of each layer from top to bottom."""
    rows: list[list[Node]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node in sorted(layer):
        rows[layer[node]].append(node)
    beside: dict[Node, list[Node]] = {node: [] for node in layer}
    for begin, end in links:
        beside[begin].append(end)
        beside[end].append(begin)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        numbers = range(1, len(rows)) if down else range(len(rows) - 2, -1, -1)
        for number in numbers:
            fixed = {node: at for at, node in enumerate(rows[number + (-1 if down else 1)])}
            own = {node: at for at, node in enumerate(rows[number])}
            rows[number].sort(key=lambda node: (_mean(beside[node], fixed, own[node]), node))
    return rows


def _mean(nodes: Sequence[Node], fixed: Mapping[Node, int], own: int) -> float:
    found = [fixed[node] for node in nodes if node in fixed]
    return sum(found) / len(found) if found else float(own)
