"""Who is not let in by a broker with TLS and users learns why, and no secret is told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from console.main import main
from processors.runtime import connection
from tests.instances import ROOT
from tests.secured import SecuredKafka, environment, make_certificate

PASSWORD = "Canary-of-a-p4ssword"
USER = "somebody"


def refused(secured: SecuredKafka, directory: Path, case: str) -> dict[str, Any]:
    """The properties of one who is not let in, with what the sentence must say."""
    secured.add_user(USER, PASSWORD)
    by = secured.by_password(USER, PASSWORD)
    other = directory / "other.pem"
    if case == "wrong authority":
        make_certificate(directory / "other.p12", other)
    plain = {"bootstrap.servers": secured.bootstrap_servers}
    return {
        "wrong password": {**by, "sasl.password": PASSWORD + "x"},
        "wrong user": {**by, "sasl.username": "nobody"},
        "wrong mechanism": {**by, "sasl.mechanisms": "PLAIN"},
        "wrong authority": {**by, "ssl.ca.location": str(other)},
        "the system's authorities": {k: v for k, v in by.items() if k != "ssl.ca.location"},
        "no TLS": {"bootstrap.servers": by["bootstrap.servers"]},
        "no TLS, with a password": {**by, "security.protocol": "SASL_PLAINTEXT"},
        "TLS without a password": {**by, "security.protocol": "SSL"},
        "TLS on a plain port": {**by, **plain},
        "a password on a plain port": {**by, **plain, "security.protocol": "SASL_PLAINTEXT"},
    }[case]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("wrong password", "does not let us in: SASL authentication error: Authentication failed"),
        ("wrong user", "does not let us in: SASL authentication error: Authentication failed"),
        ("wrong mechanism", "broker's supported mechanisms: SCRAM-SHA-512,OAUTHBEARER; check "),
        ("wrong authority", "certificate verify failed"),
        ("the system's authorities", "certificate verify failed"),
        ("no TLS", "ends each connection at once"),
        ("no TLS, with a password", "security.protocol is SASL_PLAINTEXT, and this port may want"),
        ("TLS without a password", "security.protocol is SSL, and this port may want another"),
        ("TLS on a plain port", "connecting to a PLAINTEXT broker listener?; check security.prot"),
        ("a password on a plain port", "does not let us in: SASL SCRAM-SHA-512 mechanism handsha"),
    ],
)
def test_who_is_not_let_in_learns_why(
    secured: SecuredKafka,
    tmp_path: Path,
    case: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CALL_SECONDS", 1.0)
    result = CliRunner(env=environment(refused(secured, tmp_path, case))).invoke(main, ["doctor"])
    assert result.exit_code == 3
    assert expected in result.output
    assert result.output.count("\n") == 1
    assert "start one" not in result.output
    assert PASSWORD not in result.output


def test_a_wrong_password_is_told_within_ten_seconds(secured: SecuredKafka, tmp_path: Path) -> None:
    by = environment(refused(secured, tmp_path, "wrong password"))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "console", "run"],
        env={**os.environ, **by, "HANDOFF_LOG_LEVEL": "DEBUG", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert time.monotonic() - began < 10
    assert done.returncode == 3
    assert "does not let us in" in done.stderr
    assert PASSWORD not in done.stderr + done.stdout


def test_a_token_lets_in(secured: SecuredKafka, prefix: str) -> None:
    """And the topics are not there, or may not be seen, which is another matter."""
    by = environment(secured.by_token(USER))
    result = CliRunner(env={**by, "HANDOFF_TOPIC_PREFIX": prefix}).invoke(main, ["held", "list"])
    assert result.exit_code == 4
    assert f"the right READ on the topic {prefix}held is missing" in result.output
