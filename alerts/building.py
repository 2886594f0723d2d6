"""The sinks that the routes name, with their secrets."""

from collections.abc import Mapping

from pydantic import SecretStr

from alerts.delivery import Sink
from alerts.secrets import resolve
from alerts.sinks.alertmanager import Alertmanager, AlertmanagerSettings
from alerts.sinks.email import Email, EmailSettings
from alerts.sinks.pagerduty import PagerDuty, PagerDutySettings
from alerts.sinks.slack import Slack, SlackSettings
from alerts.sinks.webhook import Webhook, WebhookSettings
from schemas.routes import AlertRoutes, Heartbeat, Reference
from schemas.routes import Sink as SinkModel


def build(routes: AlertRoutes) -> list[Sink]:
    """All sinks. Raises `SecretError` for a secret that cannot be had and `SigningKeyError`."""
    return [_sink(name, sink, routes) for name, sink in routes.sinks.items()]


def _sink(name: str, sink: SinkModel, routes: AlertRoutes) -> Sink:
    at = f"sinks.{name}"
    if sink.pagerduty is not None:
        return PagerDuty(
            PagerDutySettings(
                name=name,
                routing_keys=_routing_keys(routes),
                default=_secret(sink.pagerduty.routing_key, f"{at}.routing_key"),
            )
        )
    if sink.alertmanager is not None:
        urls = tuple(_text(url, f"{at}.url") for url in sink.alertmanager.url)
        return Alertmanager(AlertmanagerSettings(name=name, urls=urls))
    if sink.slack is not None:
        return Slack(
            SlackSettings(
                name=name,
                token=_secret(sink.slack.token, f"{at}.token"),
                channel=_text(sink.slack.channel, f"{at}.channel"),
            )
        )
    if sink.webhook is not None:
        return Webhook(
            WebhookSettings(
                name=name,
                url=SecretStr(_text(sink.webhook.url, f"{at}.url")),
                secrets=(_secret(sink.webhook.secret, f"{at}.secret"),),
            )
        )
    email = sink.email
    assert email is not None
    return Email(
        EmailSettings(
            name=name,
            host=_text(email.host, f"{at}.host"),
            sender=_text(email.from_, f"{at}.from"),
            port=email.port,
            tls=email.security,
            user=None if email.user is None else _text(email.user, f"{at}.user"),
            password=None if email.password is None else _secret(email.password, f"{at}.password"),
            to=None if email.to is None else _text(email.to, f"{at}.to"),
        )
    )


def heartbeat_url(heartbeat: Heartbeat) -> SecretStr:
    """The address that is called while all is well. Raises `SecretError`."""
    return SecretStr(_text(heartbeat.url, "heartbeat.url"))


def _routing_keys(routes: AlertRoutes) -> Mapping[str, SecretStr]:
    return {
        str(contact.pagerduty): _secret(contact.pagerduty, f"contacts.{name}.pagerduty")
        for name, contact in routes.contacts.items()
        if contact.pagerduty is not None
    }


def _secret(reference: Reference, where: str) -> SecretStr:
    return resolve(reference.model_dump(exclude_none=True), where)


def _text(setting: str | Reference, where: str) -> str:
    if isinstance(setting, str):
        return setting
    return _secret(setting, where).get_secret_value()
