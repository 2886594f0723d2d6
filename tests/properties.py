"""How properties are tested: with examples that a build repeats, and other ones elsewhere."""

import os

from hypothesis import HealthCheck, settings

REPEATABLE = "CI" in os.environ or os.environ.get("HANDOFF_REQUIRE_KAFKA") == "1"
examples = settings(
    deadline=None, derandomize=REPEATABLE, suppress_health_check=[HealthCheck.too_slow]
)
