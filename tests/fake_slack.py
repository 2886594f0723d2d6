"""Slack's `chat.postMessage`, `chat.update` and blocks, as strict as their documents."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

from aiohttp import web

from tests.receiving import Receiving, Request

TOKEN = "xoxb-17-a-bots-token"
CHANNELS = {"C1": "C1", "C2": "C2", "U1": "D1"}  # what is posted to a person lies in a direct chat
_MEMBERS = {
    "channel": str,
    "ts": str,
    "text": str,
    "blocks": list,
    "parse": str,
    "link_names": bool,
    "unfurl_links": bool,
    "unfurl_media": bool,
}


class FakeSlack(Receiving):
    """`messages` is what people see: the body by (channel, ts). `answers` are given first, one a
    request: a status and headers, a body with an `error`, or `lost`: taken, but never answered."""

    def __init__(self) -> None:
        super().__init__(self._call)
        self.answers: list[tuple[int, dict[str, str]] | str] = []
        self.messages: dict[tuple[str, str], dict[str, Any]] = {}
        self._numbers = itertools.count(1)

    async def _call(self, request: Request) -> web.StreamResponse:
        first = self.answers.pop(0) if self.answers else None
        if isinstance(first, tuple):
            return web.Response(status=first[0], headers=first[1])
        if first is not None and first != "lost":
            return web.json_response({"ok": False, "error": first})
        said = self._answer(request)
        if first == "lost":
            return web.Response(status=504)
        return web.json_response(said)

    def _answer(self, request: Request) -> dict[str, Any]:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        if not request.headers.get("content-type", "").startswith("application/json"):
            return {"ok": False, "error": "invalid_post_type"}
        sent = json.loads(request.body)
        wrong = error_of(sent)
        if wrong is not None:
            return {"ok": False, "error": wrong}
        if request.path == "/api/chat.postMessage" and "ts" not in sent:
            if sent["channel"] not in CHANNELS:
                return {"ok": False, "error": "channel_not_found"}
            place = CHANNELS[sent["channel"]], f"1503435956.{next(self._numbers):06}"
        elif request.path == "/api/chat.update" and "ts" in sent:
            place = sent["channel"], sent["ts"]
            if place[0] not in CHANNELS.values():
                return {"ok": False, "error": "channel_not_found"}
            if place not in self.messages:
                return {"ok": False, "error": "message_not_found"}
        else:
            return {"ok": False, "error": "invalid_arguments"}
        self.messages[place] = sent
        return {"ok": True, "channel": place[0], "ts": place[1], "text": sent.get("text")}


def error_of(sent: Any) -> str | None:
    """The error word of a body that the documents refuse."""
    if not isinstance(sent, dict) or sent.keys() - _MEMBERS.keys():
        return "invalid_arguments"
    if any(not isinstance(value, _MEMBERS[name]) for name, value in sent.items()):
        return "invalid_arguments"
    if not sent.get("channel"):
        return "channel_not_found"
    if not sent.get("text") and not sent.get("blocks"):
        return "no_text"
    if len(sent.get("text", "")) > 4000:
        return "msg_too_long"
    blocks = sent.get("blocks", [])
    if len(blocks) > 50 or not all(map(_is_block, blocks)):
        return "invalid_blocks"
    if sum(map(_text_of, blocks)) > 10_000:
        return "msg_blocks_too_long"
    return None


def _text_of(block: dict[str, Any]) -> int:
    """The characters of a block. Slack refuses about 12,000 of a message."""
    texts = [block["text"]] if block["type"] == "section" else block["elements"]
    return sum(len(each["text"]) for each in texts)


def _is_block(block: Any) -> bool:
    if not isinstance(block, dict):
        return False
    if block.get("type") == "section":
        return _is_text(block.get("text"), 3000)
    if block.get("type") == "context":
        elements = block.get("elements")
        return (
            isinstance(elements, list)
            and 1 <= len(elements) <= 10
            and all(_is_text(each, 3000) for each in elements)
        )
    return False


def _is_text(text: Any, most: int) -> bool:
    if not isinstance(text, dict) or text.get("type") != "mrkdwn":
        return False
    shown = text.get("text")
    if not isinstance(shown, str) or not 1 <= len(shown) <= most:
        return False
    # Every < begins a link to the web, and every & is one of the three that Slack knows.
    bare = re.sub(r"<https?://[^|<>]+\|[^|<>]+>", "", shown)
    return not re.search(r"[<>]|&(?!amp;|lt;|gt;)", bare)
