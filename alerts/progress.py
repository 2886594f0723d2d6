"""Whether a processor keeps up, judged from what is seen of its group now and again. Pure."""

from collections.abc import Mapping

from processors.runtime.restoration import Place

LIMIT_SECONDS = 300.0


class Progress:
    """The looks at one group. A group is behind when it has not committed, within five minutes, the
    end that an input had; it is away when it has had no member for as long. Records of any age may
    wait on a topic, so their timestamps say nothing of that."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._due: dict[Place, tuple[int, float]] = {}  # an end, and since when it is to be reached
        self._gone_since: float | None = None

    def note(
        self, now: float, members: int, ends: Mapping[Place, int], committed: Mapping[Place, int]
    ) -> str | None:
        """Take in a look at `now` (seconds of a clock that only rises): why the group is not well,
        or None. `ends` and `committed` are those of all its inputs, the next offset in each."""
        if members:
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = now
        for place in self._due.keys() - ends.keys():
            del self._due[place]  # it is an input no more
        for place, end in ends.items():
            at = committed[place]
            due = self._due.get(place)
            if due is None or at >= due[0]:
                self._due.pop(place, None)
                if at < end:
                    self._due[place] = end, now
        if self._gone_since is not None and now - self._gone_since >= LIMIT_SECONDS:
            return f"{self._name} has had no member for {minutes(now - self._gone_since)}"
        late = [(since, place) for place, (_, since) in self._due.items()]
        if late and now - min(late)[0] >= LIMIT_SECONDS:
            since, (topic, number) = min(late)
            return f"{self._name} is {minutes(now - since)} behind on {topic}, partition {number}"
        return None


def minutes(seconds: float) -> str:
    """A time in words."""
    return f"{seconds / 60:.0f} minutes"
