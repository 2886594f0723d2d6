"""Settings: environment variables `HANDOFF_*`, then `handoff.toml`, then defaults for this machine.

Every librdkafka property can be passed through (`kafka` in the file, `HANDOFF_KAFKA__...` in the
environment). Those that exactly-once depends on are refused with a reason.
"""

import logging
import os
import re
import tomllib
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from processors.runtime.properties import masked, place, problems
from schemas.values import MAX_DURATION

CONFIG_FILE = "handoff.toml"
# As in a contract: so that no deadline leaves the calendar.
_LONGEST_MS = MAX_DURATION // timedelta(milliseconds=1)


# One broker as clients take it: a host or [address] and its port, a protocol before it at most.
_ADDRESS = re.compile(r"([A-Z_]+://)?(\[[0-9A-Fa-f:.%]+\]|[^\s,:/\[\]]+):([0-9]{1,5})", re.ASCII)
_SITE = re.compile(r"https?://[^/\s?#@\\]+/?")
_MOST_SHOWN = 40  # characters of a number


class SettingsError(Exception):
    """Settings that cannot be used; the text is a sentence for a person, or one a line."""


class Settings(BaseSettings):
    """How this instance runs. Times are milliseconds where the name says `_ms`, else seconds.

    `ordinal` numbers the instances of one application from 0 and makes them static members of their
    group: a restarted instance gets its partitions back without a rebalance. With None an instance
    is a dynamic member.
    """

    model_config = SettingsConfigDict(
        env_prefix="HANDOFF_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", min_length=1)
    topic_prefix: str = Field("handoff.", pattern=r"^[A-Za-z0-9._-]*$", max_length=100)
    application_id: str = Field("handoff", pattern=r"^[A-Za-z0-9._-]+$", max_length=100)
    ordinal: int | None = Field(None, ge=0, le=9_999)
    partitions: int = Field(6, ge=1, le=10_000)
    web_host: str = Field("127.0.0.1", min_length=1)
    web_port: int = Field(6066, ge=0, le=65535)
    state: Literal["memory", "disk"] = "memory"
    state_dir: Path = Path("handoff-state")
    gap: Literal["stop", "skip"] = "stop"
    rebuild: bool = False
    commit_interval_ms: int = Field(100, ge=1, le=5000)
    probe_interval: float = Field(5.0, ge=0.5, le=60)
    # Limits of the core, with their reasons in `processors.integrity.limits`. The state of a task
    # and an input with its dead letter's headers must each fit into one record of 4 MiB.
    max_record_bytes: int = Field(1 << 20, ge=1024, le=3 << 20)
    max_fields: int = Field(256, ge=1, le=10_000)
    max_value_bytes: int = Field(64 << 10, ge=1, le=1 << 20)
    max_state_bytes: int = Field(1 << 20, ge=1024, le=2 << 20)
    max_open_handoffs: int = Field(64, ge=1, le=1000)
    max_output_bytes: int = Field(16 << 20, ge=1024, le=64 << 20)
    backfill_after_ms: int = Field(86_400_000, ge=1000, le=_LONGEST_MS)
    handoff_ttl_ms: int = Field(30 * 86_400_000, ge=1000, le=_LONGEST_MS)
    task_ttl_ms: int = Field(30 * 86_400_000, ge=1000, le=_LONGEST_MS)
    early_grace_ms: int = Field(60_000, ge=0, le=_LONGEST_MS)
    repeat_grace_ms: int = Field(600_000, ge=0, le=_LONGEST_MS)
    live_grace_ms: int = Field(600_000, ge=0, le=_LONGEST_MS)
    link_grace_ms: int = Field(5_000, ge=0, le=_LONGEST_MS)
    # Of insights, with their reasons in `processors.insights.limits`.
    pattern_window_ms: int = Field(86_400_000, ge=60_000, le=_LONGEST_MS)
    pattern_settle_ms: int = Field(10_000, ge=0, le=_LONGEST_MS)
    edge_interval_ms: int = Field(10_000, ge=100, le=_LONGEST_MS)
    # The file of the routes of alerts.
    alert_routes: Path | None = None
    # The console in a browser. `console_url` is how people reach it, where that is not its own
    # address; alerts lead there. `console_access` is the file that says who may do what, and how
    # they sign in.
    console_host: str = Field("127.0.0.1", min_length=1)
    console_port: int = Field(6070, ge=0, le=65535)
    console_url: str | None = None
    console_state_file: Path | None = None
    console_access: Path | None = None
    console_key: SecretStr | None = None
    console_oidc_secret: SecretStr | None = None
    kafka: Annotated[dict[str, str], NoDecode] = {}  # variables name one property each

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, given: Any, info: ValidationInfo) -> Any:
        """Python takes true for 1."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if isinstance(given, bool) and kind in (int, float, int | None):
            needed = "a number" if kind is float else "a whole number"
            raise ValueError(f"it must be {needed}, and not true or false")
        return given

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _addresses(cls, given: str) -> str:
        for number, address in enumerate(given.split(",") if given else (), 1):
            found = _ADDRESS.fullmatch(address.strip())
            if found is None or not 0 < int(found[3]) <= 65_535:
                raise ValueError(
                    f"address {number} of it has no host or no port; write HOST:PORT, with commas "
                    "between several, such as kafka-1:9092,kafka-2:9092"
                )
        return given

    @field_validator("web_host", "console_host")
    @classmethod
    def _host(cls, given: str) -> str:
        if not given.isprintable() or any(char.isspace() for char in given):
            raise ValueError("it must be the name or the address of a host, without spaces")
        return given

    @field_validator("console_url")
    @classmethod
    def _site(cls, given: str | None) -> str | None:
        if given and not _SITE.fullmatch(given):
            raise ValueError(
                "it must be http:// or https:// and a host, without a path, such as "
                "https://handoffs.example.com"
            )
        return given.rstrip("/") if given else None

    @field_validator("console_key")
    @classmethod
    def _long_enough(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None and len(given.get_secret_value()) < 32:
            raise ValueError(
                "it is shorter than 32 characters; make one with: "
                'python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        return given

    @field_validator("state_dir", mode="before")
    @classmethod
    def _directory(cls, given: Any) -> Any:
        if given == "":
            raise ValueError("it is empty; give it a value, or leave it out")
        if isinstance(given, str) and "\0" in given:
            raise ValueError("it must be a path, and none has the character NUL")
        return given

    @field_validator("kafka", mode="before")
    @classmethod
    def _property_names(cls, given: Any) -> Any:
        """Dotted names of librdkafka from a TOML tree or `SECURITY_PROTOCOL` style names."""
        if not isinstance(given, dict):
            raise ValueError(
                "a table of librdkafka properties is needed; set one of them as "
                "HANDOFF_KAFKA__SASL_PASSWORD, and the addresses as HANDOFF_KAFKA_BOOTSTRAP_SERVERS"
            )
        flat, wrong = _flat(given)
        if wrong:
            raise ValueError(next(iter(wrong.values())))
        return flat

    @field_validator("kafka")
    @classmethod
    def _allowed(cls, given: dict[str, str]) -> dict[str, str]:
        if wrong := problems(given):
            raise ValueError(wrong[0])
        return given

    def __repr_args__(self) -> Any:
        for name, value in super().__repr_args__():
            yield name, masked(value) if name == "kafka" else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings


def load_settings(**given: Any) -> Settings:
    """The settings: `given` (a command's options) over environment over file over defaults.

    The file is `$HANDOFF_CONFIG`, or `handoff.toml` in the working directory where there is one.
    Raises `SettingsError` with all that is wrong.
    """
    named = os.environ.get("HANDOFF_CONFIG")
    path = Path(named or CONFIG_FILE)
    from_file = _read(path) if named or path.exists() else {}
    wrong = []
    for unknown in sorted(set(from_file) - set(Settings.model_fields)):
        del from_file[unknown]
        if not unknown:
            wrong.append(f"{path}: a setting has no name; remove it")
            continue
        near = get_close_matches(unknown, Settings.model_fields, 1)
        hint = f"did you mean {near[0]}?" if near else "see the documentation for the settings"
        wrong.append(f"{path}: there is no setting {unknown}; {hint}")
    level = os.environ.get("HANDOFF_LOG_LEVEL", "INFO")
    if level.upper() not in logging.getLevelNamesMapping():
        wrong.append("HANDOFF_LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR")
    refused: dict[str, ErrorDetails] = {}  # the first error of each setting
    from_environment: dict[str, Any] = {}
    found: Settings | None = None
    try:
        from_environment = _environment()
    except ValidationError as error:
        _note(error, refused)
    try:
        merged = {**from_file, **from_environment, **given}
        if "kafka" in from_file and "kafka" in from_environment:
            both = Settings(kafka=from_file["kafka"]).kafka | from_environment["kafka"]
            merged["kafka"] = both
        found = Settings(**merged)
    except ValidationError as error:
        _note(error, refused)
    for name, first in refused.items():
        wrong += _sentences(name, first, path)
    if wrong or found is None:
        count = f"{len(wrong)} things are wrong with the settings:\n" if len(wrong) > 1 else ""
        raise SettingsError(count + "\n".join(wrong))
    return found


def _note(error: ValidationError, refused: dict[str, ErrorDetails]) -> None:
    for each in error.errors():
        refused.setdefault(str(each["loc"][0]) if each["loc"] else "settings", each)


def _sentences(name: str, error: ErrorDetails, path: Path) -> list[str]:
    """What is wrong with a setting; of properties of Kafka's clients there may be several."""
    message, given = _in_words(error), error["input"]
    if name == "kafka" and isinstance(given, dict) and given:
        flat, wrong = _flat(given)
        names = [each for each in (*flat, *wrong) if each]
        return [
            f"a property of Kafka's clients is wrong ({place(each, names, path.name)}): {each}"
            for each in (*wrong.values(), *problems(flat)) or (message,)
        ]
    return [f"the setting {name} ({_places(name, path)}) is wrong: {message}"]


def _environment() -> dict[str, Any]:
    """The settings that the environment has, without the others."""
    found = Settings()
    return {name: getattr(found, name) for name in found.model_fields_set}


def _flat(values: dict[str, Any], prefix: str = "") -> tuple[dict[str, str], dict[str, str]]:
    """Properties of a TOML tree or of variables by their dotted names, and under those of others
    what is wrong with them."""
    found: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for name, value in values.items():
        dotted = prefix + name.lower().replace("_", ".")
        if not name:
            under = f" under {prefix[:-1]}" if prefix else ""
            wrong[dotted] = (
                f"a property{under} has no name; write HANDOFF_KAFKA__SASL_PASSWORD, say"
            )
        elif isinstance(value, dict):
            inside, wrong_inside = _flat(value, dotted + ".")
            found |= inside
            wrong |= wrong_inside
        elif isinstance(value, list):
            wrong[dotted] = f"{dotted} must be one value, and not a list"
        else:
            found[dotted] = str(value).lower() if isinstance(value, bool) else str(value)
    return found, wrong


_NEEDED = {
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "finite_number": "a number",
    "string_type": "text, in quotes",
    "path_type": "text, in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-' only",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
}


def _in_words(error: ErrorDetails) -> str:
    """What is wrong with a setting, and what is allowed. Of what is given only a number is shown:
    words may be a secret in the wrong place."""
    kind, context, given = error["type"], error.get("ctx", {}), error["input"]
    if kind == "literal_error":
        options = context["expected"].replace("'", "")
        near = get_close_matches(str(given).lower(), options.split(" or "), 1)
        return f"it must be {options}" + (f"; did you mean {near[0]}?" if near else "")
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        shown = str(given)
        if len(shown) > _MOST_SHOWN:
            shown = f"a number of {len(shown):,} digits"
        return f"{shown} is given, and it must be {words} {context[name]:,}"
    if kind == "string_too_short":
        return "it is empty; give it a value, or leave it out"
    if kind == "string_too_long":
        return f"it has {len(given):,} characters, and it must be at most {context['max_length']}"
    if kind in _NEEDED:
        return f"it must be {_NEEDED[kind]}"
    return error["msg"].removeprefix("Value error, ")


def _places(name: str, path: Path) -> str:
    return f"HANDOFF_{name.upper()}, or {name} in {path.name}"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}, which HANDOFF_CONFIG names, does not exist") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # of TOML, of UTF-8, of a number too long
        raise SettingsError(f"{path} is not TOML: {error}") from None
