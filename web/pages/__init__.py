"""The pages of the console, in the order of the navigation."""

from typing import Any, Final

from web.pages import (
    alert,
    audit,
    causes,
    change,
    drafts,
    held,
    map,
    record,
    registry,
    search,
    task,
    team,
    today,
)

PAGES: Final[tuple[Any, ...]] = (
    today, causes, held, map, team, registry, audit, task, record, search, change, drafts, alert,
)  # fmt: skip
