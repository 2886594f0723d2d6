"""Notices broken connections of a client from its debug log: nothing else shows them at once.

When a connection breaks while a request is under way, librdkafka sends the request again on another
connection. The call that waits for the answer returns without an error, and the first copy of the
request may reach the broker later. `Transactions` has to know that.

What this relies on, in librdkafka (`rd_kafka_broker_set_state`, `rd_kafka_broker_fail`): with
`debug=broker` each change of a connection's state is a line of the facility STATE that ends in
"Broker changed state UP -> DOWN". Such a line is never rate-limited, and it is written before the
requests under way are sent again. A request that times out breaks its connection, as
`socket.max.fails` is 1. Lines wait in the client's queue until `poll`.
tests/test_connection_log.py holds the client in use to all of that.
"""

import logging

_STATE = "STATE"
_CHANGED = "Broker changed state "
# Connections in these states carry requests. REAUTH is a new login on the same connection.
_IN_USE = frozenset({"UP", "REAUTH"})


class ConnectionLog:
    """The logger of one client. `made` counts the connections that came into use, `lost` those that
    broke while they were in use.

    Lines above the level DEBUG go on to `log`; with `verbose`, all lines do.
    """

    DEBUG = "broker"  # the client's property `debug` has to hold this

    def __init__(self, log: logging.Logger, *, verbose: bool) -> None:
        self._log = log
        self._verbose = verbose
        self.made = 0
        self.lost = 0

    def log(self, level: int, form: str, facility: str, client: str, text: str) -> None:
        """One line of the client, as confluent-kafka hands it to a logger."""
        if facility == _STATE:
            before, _, after = text.rpartition(_CHANGED)[2].partition(" -> ")
            if after in _IN_USE and before not in _IN_USE:
                self.made += 1
            elif before in _IN_USE and after not in _IN_USE:
                self.lost += 1
        if self._verbose or level > logging.DEBUG:
            self._log.log(level, form, facility, client, text)
