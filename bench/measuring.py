"""Figures that several benchmarks tell."""

import resource


def percentile(times: list[float], share: float) -> float:
    """The time that a share of the times is not longer than."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def peak_megabytes() -> float:
    """Of memory (RSS) of this process, at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
