"""Slack, by a bot's token: `chat.postMessage`, and `chat.update` for what follows.

An alert is one message, which changes in place. Slack deduplicates nothing: where it did not
answer, the message is sent again and may stand there twice; the second one says so. Errors come
with status 200 and `ok: false`.
"""

import re
from collections import OrderedDict
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct
from pydantic import SecretStr

from alerts.notification import Answer, Delivered, Failed, Notification, Refused
from alerts.sinks.http import Http, Response
from alerts.sinks.words import cut, details, heading, links

API = "https://slack.com/api"
# Slack's limits in characters: the text that notifications show, the text of a section. All blocks
# of a message together may have about 12,000, or it is refused: `msg_blocks_too_long`
# (github.com/slackapi/bolt-js/issues/2867). A notification has a dozen facts.
_TEXT, _SECTION = 4000, 3000
_FACT, _FACTS = 400, 6000  # as they are sent: an ampersand counts five times
_BLOCKS = 50
_DOUBTS = 1000  # messages without an answer that are remembered
# What has to do with the app or with Slack, and not with this message: it may be taken later.
_PASSING = frozenset(
    {
        "account_inactive",
        "accesslimited",
        "ekm_access_denied",
        "enterprise_is_restricted",
        "fatal_error",
        "internal_error",
        "invalid_auth",
        "missing_scope",
        "no_permission",
        "not_allowed_token_type",
        "not_authed",
        "org_login_required",
        "rate_limited",
        "ratelimited",
        "request_timeout",
        "service_unavailable",
        "team_access_not_granted",
        "team_added_to_org",
        "token_expired",
        "token_revoked",
    }
)
# The message that is to be changed is gone or closed: another one is posted.
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_WORD = re.compile(r"[a-z0-9_]{1,80}")


class SlackSettings(Struct, frozen=True, kw_only=True):
    """`channel` is the id of a channel or person where the notification names none."""

    name: str
    token: SecretStr
    channel: str | None = None
    api: str = API


class Slack:
    """Posts to channels and people of one workspace."""

    def __init__(self, settings: SlackSettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._http = Http({"Authorization": f"Bearer {settings.token.get_secret_value()}"})
        self._doubts: OrderedDict[str, None] = OrderedDict()

    async def send(self, notification: Notification) -> Answer:
        """Post a message, or change the one that `reference` names (`CHANNEL/TS`)."""
        channel, _, ts = (notification.reference or "").partition("/")
        if ts:
            answer = await self._call("chat.update", {"channel": channel, "ts": ts}, notification)
            if not (isinstance(answer, Refused) and answer.why in _GONE):
                return _worded(answer)
        to = notification.to or self._settings.channel
        if to is None:
            return Refused(f"{self.name} has no channel for this; name one in the routes")
        repeats = notification.key in self._doubts
        answer = await self._call("chat.postMessage", {"channel": to}, notification, repeats)
        if isinstance(answer, Failed) and answer.after is None:
            self._doubts[notification.key] = None
            if len(self._doubts) > _DOUBTS:
                self._doubts.popitem(last=False)
        else:
            self._doubts.pop(notification.key, None)
        return _worded(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _call(
        self, method: str, to: dict[str, Any], notification: Notification, repeats: bool = False
    ) -> Answer:
        body = msgspec.json.encode(to | message(notification, repeats=repeats))
        answer = await self._http.post(f"{self._settings.api}/{method}", body)
        return answer if isinstance(answer, Failed) else _meaning(answer)


def message(notification: Notification, *, repeats: bool = False) -> dict[str, Any]:
    """Text and blocks. `repeats`: the same message may stand there already."""
    title = cut(heading(notification), _TEXT)
    lines = [f"*{escaped(label)}*  {_fact(text)}" for label, text in details(notification)]
    if notification.action == "acknowledge":
        lines.insert(0, "*acknowledged*")
    blocks = [_section(f"*{_fact(title)}*"), *map(_section, _chunks(_within(lines)))]
    if notification.command is not None:
        blocks.append(_section(f"```{_fact(notification.command)}```"))
    leads = [
        f"<{url.replace('|', '%7C').replace('>', '%3E')}|{label}>"
        for label, url in links(notification)
    ]
    small = [f"{notification.severity} · {_fact(cut(notification.key, 200))}"]
    if repeats:
        small.append("sent again, as Slack did not answer: it may stand here twice")
    blocks = blocks[: _BLOCKS - 1]
    elements = [_mrkdwn(" · ".join(small)), *map(_mrkdwn, leads)]
    blocks.append({"type": "context", "elements": elements})
    return {
        "text": cut(escaped(title), _TEXT),
        "blocks": blocks,
        # `chat.update` would look for names and links in it unless told otherwise.
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def escaped(text: str) -> str:
    """As Slack wants its three control characters, so that no text can mention or link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _fact(text: str) -> str:
    text = cut(text.replace("```", "'''"), _FACT)
    while (over := len(escaped(text)) - _FACT) > 0:
        text = cut(text, len(text) - over // 5 - 1)
    return escaped(text)


def _within(lines: list[str]) -> list[str]:
    """As many lines as a message has room for."""
    left = _FACTS
    for number, line in enumerate(lines):
        left -= len(line) + 1
        if left < 0:
            return [*lines[:number], "…"]
    return lines


def _chunks(lines: list[str]) -> list[str]:
    """The lines in as few texts as Slack's sections allow."""
    found: list[str] = []
    for line in lines:
        line_ = cut(line, _SECTION)
        if found and len(found[-1]) + 1 + len(line_) <= _SECTION:
            found[-1] += "\n" + line_
        else:
            found.append(line_)
    return found


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(cut(text, _SECTION))}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _meaning(answer: Response) -> Answer:
    """The answer, with the bare error word as the reason where there is one."""
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return Failed("ratelimited", answer.after if answer.after is not None else 1.0)
    said = answer.json()
    if not answer.ok or not isinstance(said.get("ok"), bool):
        return answer.failed()
    if said["ok"]:
        channel, ts = said.get("channel"), said.get("ts")
        known = isinstance(channel, str) and isinstance(ts, str)
        return Delivered(f"{channel}/{ts}" if known else None)
    word = str(said.get("error"))
    word = word if _WORD.fullmatch(word) else "an error without a name"
    return Failed(word, answer.after) if word in _PASSING else Refused(word)


def _worded(answer: Answer) -> Answer:
    match answer:
        case Failed(why, after) if _WORD.fullmatch(why):
            return Failed(f"Slack says {why}", after)
        case Refused(why) if _WORD.fullmatch(why):
            return Refused(f"Slack says {why}")
    return answer
