"""The forms of a cause's page about who is told: look after an alert, resolve it, silence."""

from collections.abc import Iterable
from typing import Final

import apsw
from starlette.responses import Response

from console import asking
from schemas.alerts import SILENCES
from web import alerting
from web.alerting import Said
from web.auth.guard import Refusal
from web.mending import NotAsked
from web.model.queries import causes
from web.model.queries.causes import Cause
from web.model.queries.told import fingerprints, silenced_workflows
from web.page import Asked, route, see
from web.pages.causes import whose
from web.urls import cause_url

NAV: Final = ()


def tell(asked: Asked) -> Response:
    """`/alert`, a form. What it is about must be on the page of the cause that it names."""
    fingerprint, action = asked.form.get("fingerprint", ""), asked.form.get("action", "")
    with asked.console.model.read() as db:
        found = causes.cause(db, fingerprint, asked.now_ms)
        if found is None or found.pattern is None:
            raise Refusal(404, "Nothing is known of that cause. What breaks now is on Causes.")
        said = _said(asked, db, found, action)
    asked.console.gate.alert(*said)
    return see(cause_url(fingerprint), told=action)


ROUTES: Final = (route("/alert", tell, methods=("POST",)),)


def _said(asked: Asked, db: apsw.Connection, found: Cause, action: str) -> Said:
    assert found.pattern is not None
    form, by, now = asked.form, asked.person.subject, asking.now()
    key = form.get("key", "")
    workflow, teams = whose(db, found.fingerprint, found.pattern)
    asked.must("operator", workflow, *teams)
    try:
        match action:
            case "ack" | "resolve":
                if key not in {each.key for each in found.alerts}:
                    raise Refusal(404, "That alert tells this cause no more. Open the page again.")
                # An alert may tell causes of several teams, and all of them are quiet then.
                for each in fingerprints(db, key):
                    _must_answer(asked, db, each)
                return alerting.of_alert(form, action, key, by, now)
            case "silence":
                _must_all(asked, [found.pattern.workflow])
                return alerting.of_silence(form, found.pattern, by, now)
            case "end":
                if key not in {each.key for each in found.silences}:
                    raise Refusal(404, "That silence has ended already. Open the page again.")
                _must_all(asked, silenced_workflows(db, key))
                return Said(SILENCES, key, None)
    except NotAsked as error:
        raise Refusal(
            400,
            "Whoever is on call next reads what you say there. Go back, and send it again.",
            title=f"Nothing was written: {error}",
            back=cause_url(found.fingerprint),
        ) from None
    raise Refusal(400, "The form does not say what to do. Open the page again.")


def _must_answer(asked: Asked, db: apsw.Connection, fingerprint: str) -> None:
    """A cause of no known team is for operators of the whole workflow."""
    workflow, teams = whose(db, fingerprint, causes.pattern_of(db, fingerprint))
    if not teams and not asked.person.does_all("operator", workflow or ""):
        raise Refusal(403, "The alert tells causes of others, too, so it is not yours to answer.")
    asked.must("operator", workflow, *teams)


def _must_all(asked: Asked, workflows: Iterable[str]) -> None:
    """A silence goes by names and not by teams: it is for operators of all that it may cover."""
    if not all(asked.person.does_all("operator", each) for each in workflows):
        raise Refusal(
            403,
            "A silence may cover handoffs of others, so it is for operators of all workflows that "
            "it names. You may look after the alert, or resolve it.",
        )
