"""The program `handoff`."""

from processors.runtime.ending import end_at_once


def start() -> None:
    """Run the command that the arguments name."""
    # Before the libraries are loaded, which takes a second.
    end_at_once()
    from console.main import main  # noqa: PLC0415

    main()


if __name__ == "__main__":
    start()
