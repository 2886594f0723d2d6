"""The pages of the console, in the order of the navigation."""

from typing import Any, Final

from web.pages import task

PAGES: Final[tuple[Any, ...]] = (task,)
