"""How long alerts wait, and how much is too much: with reasons."""

from datetime import timedelta

from msgspec import Struct


class AlertLimits(Struct, frozen=True):
    """`group_wait`: causes of one group that come within it are one message. Half a minute: what
    follows from one fault comes within seconds, and nobody on call is faster.
    `update_every`: an open alert is changed in place at most so often a sink.
    `probation`: so long what breaks a new version of a contract goes to its owner's digest.
    `storm`: more new causes than these for a sink within `storm_within` are one summary.
    `grown`: a count so many times that of the last call is told again.
    `sink_back`: so long after its end an alert is remembered for a sink that is gone from the
    routes, so that the sink is told the end where it comes back, as after a slip in the file.
    """

    group_wait: timedelta = timedelta(seconds=30)
    update_every: timedelta = timedelta(minutes=1)
    probation: timedelta = timedelta(days=7)
    storm: int = 20
    storm_within: timedelta = timedelta(minutes=1)
    grown: int = 10
    sink_back: timedelta = timedelta(days=7)


DEFAULT_ALERT_LIMITS = AlertLimits()
