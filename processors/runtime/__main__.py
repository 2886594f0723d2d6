"""`python -m processors.runtime [MODULE:PROCESSOR ...]`: run processors with the settings at hand.

As `handoff run`, for tests and for processors that the command does not know.
"""

import sys
from importlib import import_module

from processors.processor import AnyProcessor, Processor, Relay
from processors.runtime.app import EXIT_SETTINGS, run
from processors.runtime.ending import Ending
from processors.runtime.logs import complain
from processors.runtime.settings import SettingsError, load_settings


def named(reference: str) -> AnyProcessor:
    """The processor at `module:NAME`."""
    module, _, name = reference.partition(":")
    found = getattr(import_module(module), name)
    assert isinstance(found, Processor | Relay), f"{reference} is no Processor"
    return found


def main(references: list[str]) -> int:
    """Run them; the exit status."""
    try:
        settings = load_settings()
    except SettingsError as error:
        complain(str(error))
        return EXIT_SETTINGS
    with Ending() as ending:
        return run(settings, [named(reference) for reference in references], ending)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["processors.integrity.processor:INTEGRITY"]))
