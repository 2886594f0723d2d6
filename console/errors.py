"""What a command ends with when it cannot go on: one text for a person and an exit code.

0 is success. A text says what, where and what to do next.
"""

import click

from console import output

FOUND_PROBLEMS = 1  # something is not as it should be, and only a person can mend it
BAD_INPUT = 2  # bad input, a bad document, wrong usage (click's own code for usage)
UNREACHABLE = 3  # no broker, or none that lets us in
REFUSED = 4  # understood, and not done


class CommandError(click.ClickException):
    """Ends the command with `message` on standard error and `exit_code`."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def show(self, file: object = None) -> None:
        """Print the message; click's own form puts "Error:" before it."""
        output.say(f"handoff: {self.message}", err=True)


class BadInputError(CommandError):
    """What was given cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message, BAD_INPUT)


class UnreachableError(CommandError):
    """No broker answered."""

    def __init__(self, message: str) -> None:
        super().__init__(message, UNREACHABLE)


class DeclinedError(CommandError):
    """The command understood and does not do it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, REFUSED)
