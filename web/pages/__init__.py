"""The pages of the console, in the order of the navigation."""

from typing import Any, Final

from web.pages import causes, held, record, search, task, today

PAGES: Final[tuple[Any, ...]] = (today, causes, held, task, record, search)
