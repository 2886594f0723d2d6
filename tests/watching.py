"""The toy with one receiver, `desk`, whose consumer group is probed.

`WATCHED_GROUP` names its group; what it reads is the toy's output.
"""

import os
from dataclasses import replace

from processors.contracts.registry import LIVENESS
from processors.integrity.limits import Limits
from processors.integrity.processor import integrity
from tests.toy import TOY

GROUP = os.environ.get("WATCHED_GROUP", "desk")
QUEUE = os.environ.get("TOY_PREFIX", "toy.") + "out"
WATCHING = replace(TOY, tables=(LIVENESS,), groups=lambda _: {"desk": (GROUP, QUEUE)})

# The real one, but a receiver is silent after a second without a member.
IMPATIENT = integrity(Limits(live_grace_ms=1000, stale_liveness_ms=2500))
