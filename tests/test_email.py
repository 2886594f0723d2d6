"""The e-mail sink, against a real SMTP server: what arrives is parsed again and read."""

from __future__ import annotations

import email
import ssl
import subprocess
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from pydantic import SecretStr

from alerts.notification import Answer, Delivered, Failed, Notification, Refused
from alerts.sinks.email import Email, EmailSettings
from tests.notices import notice
from tests.sinks import HARD, send_all

USER, PASSWORD = "handoff", "a-password-of-mail"
TO = "Dana Reyes <dana@nordlicht.example>"


class Mailbox:
    """Takes mails; `answers` are given first to what comes, one a recipient."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answers: list[str] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        made = email.message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(made, EmailMessage)
        self.mails.append(made)
        return "250 taken"


class FreePort(Controller):
    """A server at a free port: aiosmtpd would look for it at the port that it was told, 0."""

    def _trigger_server(self) -> None:
        server: Any = self.server
        self.port = server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


class PageTexts(HTMLParser):
    """The text of a page, and the names of its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.names = "", set[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine, and its key."""
    certificate_, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        [*command.split(), *names, "-keyout", str(key), "-out", str(certificate_)],
        check=True,
        capture_output=True,
    )
    return certificate_, key


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def authenticated(
    server: Any, session: Any, envelope: Any, mechanism: str, data: Any
) -> AuthResult:
    right = isinstance(data, LoginPassword) and data.password == PASSWORD.encode()
    return AuthResult(success=right, handled=right)


class Server:
    """An SMTP server that demands STARTTLS and a login."""

    def __init__(self, certificate_: tuple[Path, Path]) -> None:
        self.box = Mailbox()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate_)
        self.trust = ssl.create_default_context(cafile=str(certificate_[0]))
        self.controller = FreePort(
            self.box,
            hostname="127.0.0.1",
            port=0,
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=authenticated,
        )

    def settings(self, **changes: Any) -> EmailSettings:
        made: dict[str, Any] = {
            "name": "mail",
            "host": "127.0.0.1",
            "port": self.controller.port,
            "sender": "Handoff Integrity <alerts@handoff.example>",
            "user": USER,
            "password": SecretStr(PASSWORD),
            "to": TO,
        }
        return EmailSettings(**made | changes)

    def sent(self, *notifications: Notification, **changes: Any) -> list[Answer]:
        return send_all(Email(self.settings(**changes), context=self.trust), *notifications)


@pytest.fixture
def server(certificate: tuple[Path, Path]) -> Iterator[Server]:
    made = Server(certificate)
    made.controller.start()
    yield made
    made.controller.stop()


def read(mail: EmailMessage) -> tuple[str, PageTexts]:
    text, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert isinstance(text, EmailMessage)
    assert isinstance(page, EmailMessage)
    return text.get_content(), PageTexts(page.get_content())


def test_a_mail_is_read_as_text_and_as_html(server: Server) -> None:
    assert server.sent(notice()) == [Delivered()]
    (mail,) = server.box.mails
    assert mail["To"] == TO
    assert mail["Subject"] == notice().title
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "multipart/alternative"
    text, page = read(mail)
    for said in ("who had it", "call-recorder", "handoff show lead-2041", "since"):
        assert said in text
        assert said in page.text
    assert "https://console.example/patterns/1" in text
    assert {"a", "table", "pre"} <= page.names


def test_a_mail_says_once_since_when(server: Server) -> None:
    assert server.sent(notice(facts=(("since", "2026-03-02 09:00 UTC"),))) == [Delivered()]
    text, _ = read(server.box.mails[0])
    assert [line for line in text.splitlines() if line.startswith("since")] == [
        "since: 2026-03-02 09:00 UTC"
    ]


def test_the_mails_of_an_alert_are_one_thread(server: Server) -> None:
    server.sent(notice(), notice(), notice(number=2, action="resolve"), notice("another"))
    first, again, resolved, other = server.box.mails
    assert first["Message-ID"] == again["Message-ID"]
    assert first["References"] is None
    assert resolved["References"] == resolved["In-Reply-To"] == first["Message-ID"]
    assert resolved["Subject"].startswith("Resolved: ")
    assert len({mail["Message-ID"] for mail in server.box.mails}) == 3
    assert other["References"] is None


@pytest.mark.parametrize("text", HARD)
def test_no_text_makes_a_header_or_a_tag(server: Server, text: str) -> None:
    hard = notice(text, title=text, facts=((text, text),), command=text, link=text)
    assert server.sent(hard) == [Delivered()]
    (mail,) = server.box.mails
    assert "\n" not in mail["Subject"]
    _, page = read(mail)
    assert page.names <= {"html", "body", "h2", "p", "table", "tr", "th", "td", "pre", "a", "small"}


def test_a_title_cannot_write_a_header(server: Server) -> None:
    assert server.sent(notice(title="x\r\nBcc: everybody@example.com")) == [Delivered()]
    (mail,) = server.box.mails
    assert mail["Bcc"] is None


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ("550 5.1.1 no such person dana@nordlicht.example", Refused, "550"),
        ("451 4.3.0 try later", Failed, "451"),
    ],
)
def test_what_the_server_says_of_a_recipient(
    server: Server, given: str, kind: type[Answer], said: str
) -> None:
    server.box.answers.append(given)
    (answer,) = server.sent(notice())
    assert isinstance(answer, kind)
    assert isinstance(answer, Failed | Refused)
    assert said in answer.why
    assert "dana" not in answer.why


@pytest.mark.parametrize(
    "to", ["nobody", "a@b\r\nBcc: c@d", "", "<>", "a@", ".@", "a@[1.2.3.4", "undisclosed:;", "((("]
)
def test_what_is_no_address_is_refused(server: Server, to: str) -> None:
    (answer,) = server.sent(notice(to=to) if to else notice(), to=to or None)
    assert isinstance(answer, Refused), answer


def test_a_wrong_password_may_be_put_right_and_is_not_shown(server: Server) -> None:
    (answer,) = server.sent(notice(), password=SecretStr("wrong-password"))
    assert answer == Failed("the mail server does not take user and password")
    assert PASSWORD not in repr(server.settings())


def test_a_certificate_that_nobody_trusts_is_not_accepted(server: Server) -> None:
    (answer,) = send_all(Email(server.settings()), notice())
    assert answer == Failed("the mail server's certificate is not trusted")
    assert server.box.mails == []


def test_nothing_is_sent_in_the_clear_where_starttls_is_wanted() -> None:
    box = Mailbox()
    controller = FreePort(box, hostname="127.0.0.1", port=0)
    controller.start()
    try:
        settings = EmailSettings(
            name="mail", host="127.0.0.1", port=controller.port, sender="a@b.example"
        )
        (answer,) = send_all(Email(settings), notice(to=TO))
    finally:
        controller.stop()
    assert isinstance(answer, Failed)
    assert box.mails == []


def test_a_server_that_is_away_is_tried_again() -> None:
    sink = Email(EmailSettings(name="mail", host="127.0.0.1", port=1, sender="a@b.example"))
    assert send_all(sink, notice(to=TO)) == [
        Failed("no connection to the mail server: ConnectionRefusedError")
    ]
