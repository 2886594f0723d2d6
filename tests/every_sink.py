"""One sink of each kind, each with a secret and a server of the tests, and all that they were
sent."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from aiohttp import web
from pydantic import SecretStr

from alerts.delivery import Sink
from alerts.sinks.alertmanager import Alertmanager, AlertmanagerSettings
from alerts.sinks.email import Email
from alerts.sinks.pagerduty import PagerDuty, PagerDutySettings
from alerts.sinks.slack import Slack, SlackSettings
from alerts.sinks.webhook import Webhook, WebhookSettings
from schemas.routes import AlertRoutes
from tests.fake_pagerduty import ROUTING_KEY, FakePagerDuty
from tests.fake_slack import TOKEN, FakeSlack
from tests.receiving import Handler, Receiving, Request
from tests.test_email import PASSWORD, Server, make_certificate, read
from tests.test_sinks_together import HOOK

PATH = "a-secret-of-the-path"
BEAT = "a-secret-of-the-watcher"
SECRETS = (ROUTING_KEY, TOKEN, HOOK.removeprefix("whsec_"), PASSWORD, PATH, BEAT)
NAMES = ("pager", "chat", "hook", "manager", "mail")
WATCHER = "HANDOFF_TEST_WATCHER"  # the variable that names the address of the heartbeat


async def well(_: Request) -> web.Response:
    return web.Response(status=200)


class EverySink:
    """The servers run while it is entered. `answer` is what the three that are not fakes of an API
    do with each request; with it the fakes do so, too."""

    def __init__(self, folder: Path, answer: Handler | None = None) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._pager: Receiving = FakePagerDuty() if answer is None else Receiving(answer)
        self._chat: Receiving = FakeSlack() if answer is None else Receiving(answer)
        self._hook, self._manager = (Receiving(answer or well) for _ in range(2))
        self.outside = Receiving(answer or well)
        self.servers = (self._pager, self._chat, self._hook, self._manager, self.outside)

    def __enter__(self) -> Self:
        for server in self.servers:
            self._stack.enter_context(server)
        self.mail = Server(make_certificate(self._folder))
        self.mail.controller.start()
        self._stack.callback(self.mail.controller.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def watcher(self) -> str:
        """The address of the heartbeat."""
        return f"{self.outside.url}/{BEAT}"

    def routes(self) -> AlertRoutes:
        """Everything goes to each sink, what is held too. Where they are stands in `sinks`."""
        kept = {"slack": {"token": {"env": "KEPT"}, "channel": "C1"}}
        return AlertRoutes.model_validate(
            {
                "kind": "AlertRoutes",
                "sinks": dict.fromkeys(NAMES, kept),
                "routes": [
                    {
                        "name": name,
                        "sink": name,
                        "continue": True,
                        "held": True,
                        "held_too_long": True,
                        "group_by": ["workflow", "kind", "contract", "receiver"],
                    }
                    for name in NAMES
                ],
                "heartbeat": {"url": {"env": WATCHER}, "every": "PT1S"},
            }
        )

    def sinks(self) -> Sequence[Sink]:
        """One of each kind."""
        hook = SecretStr(f"{self._hook.url}/{PATH}")
        return [
            PagerDuty(
                PagerDutySettings(
                    name="pager",
                    routing_keys={},
                    default=SecretStr(ROUTING_KEY),
                    url=f"{self._pager.url}/v2/enqueue",
                )
            ),
            Slack(
                SlackSettings(
                    name="chat", token=SecretStr(TOKEN), channel="C1", api=f"{self._chat.url}/api"
                )
            ),
            Webhook(WebhookSettings(name="hook", url=hook, secrets=(SecretStr(HOOK),))),
            Alertmanager(
                AlertmanagerSettings(name="manager", urls=(f"{self._manager.url}/{PATH}",))
            ),
            Email(self.mail.settings(), context=self.mail.trust),
        ]

    def sent(self) -> dict[str, list[str]]:
        """Path, headers and body of all requests of each sink; the texts of the mails."""
        found = {
            name: [
                "\n".join((each.path, str(each.headers), each.body.decode()))
                for each in server.requests
            ]
            for name, server in zip((*NAMES[:4], "watcher"), self.servers, strict=True)
        }
        found["mail"] = []
        for mail in self.mail.box.mails:
            text, page = read(mail)
            found["mail"].append("\n".join((str(mail.items()), text, page.text)))
        return found
