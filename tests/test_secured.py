"""On a broker with TLS, users and ACLs."""

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.secured import SecuredKafka
from topics.rights import Right


@pytest.mark.parametrize("way", ["password", "token"])
def test_a_user_sees_what_was_granted(secured: SecuredKafka, prefix: str, way: str) -> None:
    topic, user = prefix + "seen", prefix + way
    secured.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    secured.add_user(user, "a password")
    by = secured.by_token(user) if way == "token" else secured.by_password(user, "a password")
    client = AdminClient(by)

    def sees() -> bool:
        return topic in client.list_topics(timeout=10).topics

    assert not sees()
    secured.grant(user, Right("DESCRIBE", "topic", topic))
    assert sees()
    secured.revoke(user, Right("DESCRIBE", "topic", topic))
    assert not sees()
    secured.grant(user, Right("READ", "topic", prefix), prefixed=True)
    assert sees()
    secured.revoke(user)
    assert not sees()
