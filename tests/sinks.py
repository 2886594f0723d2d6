"""What the tests of the sinks share: sending, and the texts that are hard to send."""

from __future__ import annotations

import asyncio

from alerts.delivery import Sink
from alerts.notification import Answer, Notification

# Texts that break what quotes, escapes or cuts badly.
HARD = (
    "a < b & c > d",
    "<!channel> <@U1> <https://evil.example|click>",
    "<script>alert(1)</script> &amp;",
    "*bold* _x_ `code` ```block```",
    'quotes " and \\ and {{ template }}',
    "ümläut 漢字 🚨",
    "two\nlines\r\nand\x00a\x1b[31mcontrol\u202e",
    "x" * 20_000,
    "&" * 9_000,
)


def send_all(sink: Sink, *notifications: Notification) -> list[Answer]:
    """Send one after another, and close the sink."""

    async def send() -> list[Answer]:
        try:
            return [await sink.send(each) for each in notifications]
        finally:
            await sink.close()

    return asyncio.run(send())
