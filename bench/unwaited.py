"""`python -m bench.unwaited run`: the command `handoff`, whose transactions send their offsets
without waiting until the outputs are delivered.

Only to measure what that waiting costs. Offsets could be committed without their outputs: see
`processors.runtime.transactions`.
"""

import sys

from console.main import main
from processors.runtime.transactions import Transactions


def _at_once(_: Transactions) -> None:
    """Wait for nothing."""


if __name__ == "__main__":
    Transactions._deliver = _at_once  # type: ignore[assignment]
    sys.exit(main())
