"""Secrets by reference: where they come from, and that no message shows one."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.secrets import SecretError, resolve

VALUE = "a-value-nobody-may-see"
WHERE = "sinks.chat.token"


def test_an_environment_variable_and_a_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(VALUE + "\n")
    found = [
        resolve({"env": "TOKEN"}, WHERE, {"TOKEN": VALUE}),
        resolve({"file": str(path)}, WHERE),
    ]
    assert [each.get_secret_value() for each in found] == [VALUE, VALUE]
    assert VALUE not in f"{found} {found[0]}"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (VALUE, "write {env: NAME} or {file: PATH}"),
        ({"value": VALUE}, "write {env: NAME} or {file: PATH}"),
        ({"env": "TOKEN", "file": VALUE}, "write {env: NAME} or {file: PATH}"),
        ({"env": [VALUE]}, "write {env: NAME} or {file: PATH}"),
        (None, "write {env: NAME} or {file: PATH}"),
        ({"env": "OTHER"}, "the environment variable OTHER is not set"),
        ({"env": "EMPTY"}, "the environment variable EMPTY is empty"),
        ({"file": "/no/such/file"}, "cannot be read (No such file or directory)"),
        ({"file": "/"}, "cannot be read (Is a directory)"),
        ({"file": "a\0b"}, "cannot be read (it is no path)"),
    ],
)
def test_what_cannot_be_had_is_said_with_its_place_and_without_its_value(
    reference: object, said: str
) -> None:
    with pytest.raises(SecretError) as error:
        resolve(reference, WHERE, {"TOKEN": VALUE, "EMPTY": " "})
    assert str(error.value).startswith(WHERE)
    assert said in str(error.value)
    assert VALUE not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "not text"),
        (b"x" * 70_000, "too long"),
    ],
)
def test_a_file_that_is_no_secret_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(SecretError, match=said):
        resolve({"file": str(path)}, WHERE)
