"""E-mail by SMTP: text and HTML, one thread of mails for each alert.

Message-IDs follow from key and number, and each mail refers to the first of its key, so that mail
programs show them together, and one that was sent twice can be known. smtplib blocks, so it runs in
threads of this sink's own.
"""

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape
from typing import Literal

from msgspec import Struct
from pydantic import SecretStr

from alerts.notification import Answer, Delivered, Failed, Notification, Refused
from alerts.sinks.words import PRODUCT, cut, details, digest, heading, links
from schemas.printable import plain

_SECONDS = 10.0  # for the connection, and for each answer
_THREADS = 4
_SUBJECT = 200


class EmailSettings(Struct, frozen=True, kw_only=True):
    """`tls` is `starttls` (port 587), `tls` (port 465) or `none`, for a server on this machine
    only. `sender` is an address; `to` is where the notification names none."""

    name: str
    host: str
    sender: str
    port: int = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: SecretStr | None = None
    to: str | None = None


class Email:
    """Sends mails by one server. `context` is for tests: which certificates are trusted."""

    def __init__(
        self,
        settings: EmailSettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._now = now
        self._context = context or ssl.create_default_context()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"email-{settings.name}")

    async def send(self, notification: Notification) -> Answer:
        """Send one mail, on a connection of its own."""
        to = notification.to or self._settings.to
        if to is None:
            return Refused(
                f"{self.name}: the owner has no mail address, and the sink has no 'to'; "
                "give the sink 'to', or the owner an 'email' under contacts"
            )
        try:
            made = mail(notification, self._settings.sender, to, self._now())
        except (ValueError, IndexError, AttributeError):  # the last two are of Python's own reader
            return Refused(f"{self.name}: the address of this contact is no mail address")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._deliver, made)

    async def close(self) -> None:
        """Take no more. What is under way in a thread ends by its time-out."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _deliver(self, made: EmailMessage) -> Answer:
        taken = False
        try:
            with self._connected() as server:
                if self._settings.tls == "starttls":
                    server.starttls(context=self._context)
                if self._settings.user is not None:
                    password = self._settings.password
                    server.login(
                        self._settings.user, password.get_secret_value() if password else ""
                    )
                server.send_message(made)
                taken = True
        except (smtplib.SMTPException, OSError, ValueError) as error:
            if not taken:  # else it only did not part well
                return _failure(error)
        return Delivered()

    def _connected(self) -> smtplib.SMTP:
        where = (self._settings.host, self._settings.port)
        if self._settings.tls == "tls":
            return smtplib.SMTP_SSL(*where, timeout=_SECONDS, context=self._context)
        return smtplib.SMTP(*where, timeout=_SECONDS)


def mail(notification: Notification, sender: str, to: str, now: datetime) -> EmailMessage:
    """The mail, as text and as HTML. Raises `ValueError` where `to` or `sender` is no address."""
    made = EmailMessage(policy=SMTP)
    domain = sender.rpartition("@")[2].rstrip(">") or "localhost"
    made["From"] = sender
    made["To"] = to
    if not made["To"].addresses:
        raise ValueError("no address")
    for name, given in (("From", sender), ("To", to)):
        for address in made[name].addresses:
            # Newer Pythons close a bracket that was left open: nobody wrote that domain.
            if not (address.username and address.domain and address.domain in given):
                raise ValueError("no address")
    made["Subject"] = cut(heading(notification), _SUBJECT)
    made["Date"] = format_datetime(now)
    first = f"<{digest(notification.key)}.1@{domain}>"
    made["Message-ID"] = first.replace(".1@", f".{notification.number}@")
    if notification.number > 1:
        made["In-Reply-To"] = made["References"] = first
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence answers it
    made["X-Auto-Response-Suppress"] = "All"
    made.set_content(_text(notification))
    made.add_alternative(_html(notification), subtype="html")
    return made


def _state(notification: Notification) -> str:
    word = {"resolve": "resolved", "acknowledge": "acknowledged"}.get(notification.action, "firing")
    return f"{notification.severity}, {word}"


def _text(notification: Notification) -> str:
    lines = [heading(notification), _state(notification), ""]
    lines += [f"{label}: {text}" for label, text in details(notification)]
    if notification.command is not None:
        lines += ["", f"  {plain(notification.command)}"]
    lines += ["", *(f"{label}: {url}" for label, url in links(notification))]
    lines += ["", f"{PRODUCT}, alert {plain(notification.key)}"]
    return "\n".join(lines) + "\n"


def _html(notification: Notification) -> str:
    rows = "".join(
        f'<tr><th align="left" valign="top">{escape(label)}</th><td>{escape(text)}</td></tr>\n'
        for label, text in details(notification)
    )
    command = ""
    if notification.command is not None:
        command = f"<pre>{escape(plain(notification.command))}</pre>\n"
    leads = " · ".join(
        f'<a href="{escape(url)}">{escape(label)}</a>' for label, url in links(notification)
    )
    return (
        f"<!doctype html>\n<html><body>\n<h2>{escape(heading(notification))}</h2>\n"
        f"<p>{escape(_state(notification))}</p>\n<table>\n{rows}</table>\n{command}<p>{leads}</p>\n"
        f"<p><small>{PRODUCT}, alert {escape(plain(notification.key))}</small></p>\n"
        "</body></html>\n"
    )


def _failure(error: Exception) -> Answer:
    """What went wrong, without the server's own words: they repeat addresses."""
    match error:
        case smtplib.SMTPAuthenticationError():
            return Failed("the mail server does not take user and password")
        case smtplib.SMTPNotSupportedError():
            return Failed("the mail server offers no STARTTLS or no login; see its settings")
        case smtplib.SMTPRecipientsRefused(recipients=refused):
            codes = [code for code, _ in refused.values()]
            if all(code >= 500 for code in codes):
                return Refused(f"the mail server refuses the recipient ({max(codes)})")
            return Failed(f"the mail server does not take the recipient now ({min(codes)})")
        case smtplib.SMTPConnectError(smtp_code=code) | smtplib.SMTPHeloError(smtp_code=code):
            return Failed(f"the mail server does not let us in ({code})")
        case smtplib.SMTPSenderRefused(smtp_code=code):
            return Failed(f"the mail server refuses the sender ({code}); see its settings")
        case smtplib.SMTPResponseException(smtp_code=code) if code >= 500:
            return Refused(f"the mail server refuses the mail ({code})")
        case smtplib.SMTPResponseException(smtp_code=code):
            return Failed(f"the mail server does not take the mail now ({code})")
        case ssl.SSLCertVerificationError():
            return Failed("the mail server's certificate is not trusted")
        case ValueError():
            return Failed("our defect: the mail cannot be written down")
        case TimeoutError():
            return Failed("the mail server did not answer, so the mail may have arrived")
    return Failed(f"no connection to the mail server: {type(error).__name__}")
