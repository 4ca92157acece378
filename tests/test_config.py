"""config: defaults with unit and reason, and wrong values refused by name."""

from __future__ import annotations

import re
import resource
import ssl
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from fastws import ChannelRule, Compression, Config, ConfigError, Limits
from fastws.config import (
    ChannelOptions,
    ServerOptions,
    compression_rule,
)
from fastws.types import Compress

RECORDS: list[type[Any]] = [Limits, Compression, ChannelRule, Config]

# The table of secure defaults; a change here is a change of policy.
DEFAULTS: dict[str, object] = {
    "max_message": 1_048_576,
    "max_fragments": None,
    "message_timeout": 30.0,
    "max_request_line": 8192,
    "max_header_line": 8192,
    "max_headers": 100,
    "max_header_bytes": 16_384,
    "max_body": 1_048_576,
    "max_pipelined": 16,
    "handshake_timeout": 10.0,
    "max_handshakes": 4096,
    "keep_alive_timeout": 5.0,
    "max_early_data": 65_536,
    "ping_interval": 25.0,
    "pong_timeout": 10.0,
    "close_timeout": 10.0,
    "error_close_timeout": 0.3,
    "write_high_water": 65_536,
    "write_low_water": 16_384,
    "write_cap": 1_048_576,
    "max_stall": 10.0,
    "control_rate": 20.0,
    "control_burst": 40,
    "message_rate": None,
    "message_burst": 100,
    "max_channels": 128,
    "max_channel_name": 255,
    "max_connections": None,
}


def test_the_limits_have_their_secure_defaults() -> None:
    limits = Limits()
    assert {one.name: getattr(limits, one.name) for one in fields(Limits)} == DEFAULTS


@pytest.mark.parametrize("record", RECORDS)
def test_every_option_says_what_it_is(record: type[Any]) -> None:
    for one in fields(record):
        assert one.metadata["about"], one.name


@pytest.mark.parametrize("record", RECORDS)
def test_records_are_frozen_and_take_keywords_only(record: type[Any]) -> None:
    made = record()
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(record)[0].name, 1)
    with pytest.raises(TypeError):
        record(1)
    assert not hasattr(made, "__dict__")


def test_equal_rules_are_one_key() -> None:
    assert {ChannelRule(): 1}[ChannelRule(max_lag=1_048_576)] == 1


@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize("value", [0, -1, "many", True])
def test_a_limit_is_a_number_above_zero(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"Limits\.{name} must be"):
        Limits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DEFAULTS)
def test_none_switches_off_what_may_be_off(name: str) -> None:
    required = {
        "max_request_line",
        "max_header_line",
        "max_headers",
        "max_header_bytes",
        "max_pipelined",
        "max_early_data",
        "close_timeout",
        "error_close_timeout",
        "write_high_water",
        "write_low_water",
        "write_cap",
        "control_burst",
        "message_burst",
        "max_channel_name",
    }
    if name in required:
        with pytest.raises(ConfigError, match=name):
            Limits(**{name: None})  # type: ignore[arg-type]
    else:
        assert getattr(Limits(**{name: None}), name) is None  # type: ignore[arg-type]


def test_counts_are_whole_numbers() -> None:
    with pytest.raises(ConfigError, match="max_message"):
        Limits(max_message=1.5)  # type: ignore[arg-type]
    assert Limits(handshake_timeout=2).handshake_timeout == 2


def test_the_low_water_mark_is_under_the_high_one() -> None:
    with pytest.raises(ConfigError, match="at most write_high_water"):
        Limits(write_high_water=100, write_low_water=200)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), 4096),
        (Limits(max_message=1000), 1024),
        (Limits(max_message=None), None),
        (Limits(max_fragments=7), 7),
    ],
)
def test_fragment_limit_grows_with_the_message(
    limits: Limits, expected: int | None
) -> None:
    assert limits.fragment_limit == expected


@pytest.mark.parametrize(
    ("descriptors", "expected"),
    [(1024, 768), (1_000_000, 65_536), (resource.RLIM_INFINITY, 65_536), (100, 1)],
)
def test_connection_limit_follows_the_descriptors(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, expected: int
) -> None:
    monkeypatch.setattr(
        resource, "getrlimit", lambda _: (descriptors, resource.RLIM_INFINITY)
    )
    assert Limits().connection_limit == expected
    assert Limits(max_connections=5).connection_limit == 5


# The rule of a channel; a change here is a change of policy, too.
RULE: dict[str, object] = {
    "slow": "close",
    "max_lag": 1_048_576,
    "max_lag_age": 10.0,
    "max_stall": None,
    "max_keys": 10_000,
    "history": None,
    "history_ttl": None,
    "history_bytes": 16_777_216,
    "batch": None,
    "batch_form": "frames",
    "compress": True,
    "cohort_join": 1.0,
}
CHOICES = ("slow", "batch_form")
AMOUNTS = [name for name in RULE if name not in (*CHOICES, "compress")]

COMPRESS: list[Compress] = [True, False, "cohort"]

# What makes each of these fields mean something.
COMPANIONS: dict[str, dict[str, Any]] = {
    "max_keys": {"slow": "latest"},
    "history_ttl": {"history": 10},
    "history_bytes": {"history": 10},
    "batch_form": {"batch": 0.02},
    "cohort_join": {"compress": "cohort"},
}


def test_a_channel_keeps_nothing_and_closes_slow_subscribers_by_default() -> None:
    rule = ChannelRule()
    assert {one.name: getattr(rule, one.name) for one in fields(rule)} == RULE


@pytest.mark.parametrize("name", AMOUNTS)
@pytest.mark.parametrize("value", [0, -1, "1", True, float("inf"), float("nan")])
def test_an_amount_of_a_rule_is_a_number_above_zero(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"ChannelRule\.{name} must be a number of"):
        ChannelRule(**{name: value, **COMPANIONS.get(name, {})})


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_of_a_rule_is_one_of_a_list(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"ChannelRule\.{name} must be one of '\w"):
        ChannelRule(**{name: "drop"})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", COMPANIONS)
def test_a_setting_that_would_do_nothing_is_refused(name: str) -> None:
    setting: Any = {name: "array" if name == "batch_form" else 5}
    ((companion, value),) = COMPANIONS[name].items()
    with pytest.raises(ConfigError, match=rf"ChannelRule\.{name} needs {companion}="):
        ChannelRule(**setting)
    made = ChannelRule(**setting, **{companion: value})
    assert getattr(made, name) == setting[name]


@pytest.mark.parametrize("value", [None, 1, 0, "yes", "", [True]])
def test_a_channel_is_compressed_or_not_or_a_cohort(value: Any) -> None:
    with pytest.raises(
        ConfigError,
        match=r"ChannelRule\.compress must be True, False or 'cohort', not",
    ):
        ChannelRule(compress=value)
    assert [ChannelRule(compress=one).compress for one in COMPRESS] == COMPRESS


@pytest.mark.parametrize("compress", [True, False])
def test_only_a_cohort_is_joined(compress: bool) -> None:
    with pytest.raises(ConfigError, match='cohort_join needs compress="cohort" beside'):
        ChannelRule(compress=compress, cohort_join=5)


@pytest.mark.parametrize("other", [{"history": 10}, {"slow": "latest"}])
def test_an_array_of_messages_has_no_offset_and_no_key(other: dict[str, Any]) -> None:
    (name,) = other
    with pytest.raises(ConfigError, match=f"does not go with {name}="):
        ChannelRule(batch=0.02, batch_form="array", **other)
    assert ChannelRule(batch=0.02, batch_form="frames", **other).batch == 0.02


@pytest.mark.parametrize(
    "options",
    [
        {"host": ""},
        {"port": -1},
        {"port": 65_536},
        {"port": "8080"},
        {"backlog": 0},
        {"shutdown_timeout": -1},
        {"ssl_handshake_timeout": 0},
        {"loop": "trio"},
        {"link": "carrier pigeon"},
        {"limits": {}},
        {"ssl": "cert.pem"},
        {"allowed_origins": "https://example.org"},
        {"allowed_origins": [1]},
    ],
)
def test_a_wrong_option_is_refused_by_name(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=rf"Config\.{name} must be"):
        Config(**options)


def test_the_two_ways_to_tls_exclude_each_other() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ConfigError, match="not both"):
        Config(ssl=context, ssl_certificate="cert.pem")
    with pytest.raises(ConfigError, match="needs ssl_certificate"):
        Config(ssl_key="key.pem")


def test_compression_is_off_unless_it_is_asked_for() -> None:
    assert Config().compression is None
    assert compression_rule(None) is None
    assert compression_rule(False) is None
    assert compression_rule(True) == Compression()
    rule = Compression(level=1)
    assert compression_rule(rule) is rule
    with pytest.raises(ConfigError, match=r"Config\.compression must be"):
        Config(compression="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rule",
    [
        {"level": 0},
        {"server_context": "no"},
        {"client_context": 1},
        {"level": 10},
        {"level": True},
        {"window_bits": 8},
        {"window_bits": 16},
        {"memory_level": 0},
        {"memory_level": 10},
        {"threshold": -1},
        {"threshold": None},
        {"max_size": 0},
        {"max_ratio": 0},
        {"max_ratio": 1.5},
    ],
)
def test_a_wrong_compression_rule_is_refused(rule: dict[str, Any]) -> None:
    (name,) = rule
    with pytest.raises(ConfigError, match=rf"Compression\.{name} must be"):
        Compression(**rule)


def test_our_own_sockets_have_no_tls() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ConfigError, match='link="own" has no TLS'):
        Config(link="own", ssl=context)
    with pytest.raises(ConfigError, match='link="own" has no TLS'):
        Config(link="own", ssl_certificate="cert.pem")


@pytest.mark.parametrize(
    ("options", "record", "own"),
    [(ChannelOptions, ChannelRule, set()), (ServerOptions, Config, {"limits"})],
)
def test_keyword_arguments_are_the_fields_of_their_record(
    options: Any, record: type[Any], own: set[str]
) -> None:
    expected = get_type_hints(record)
    assert get_type_hints(options) == {
        name: kind for name, kind in expected.items() if name not in own
    }


def test_the_server_listens_on_loopback_by_default() -> None:
    config = Config()
    assert (config.host, config.port, config.backlog) == ("127.0.0.1", 8080, 4096)
    assert config.allowed_origins is None
    assert not config.debug


DOCUMENTED = re.compile(r"^\| `(\w+)` \| (\S+) \|", re.MULTILINE)


def test_the_manual_has_every_option_with_its_default() -> None:
    manual = Path(__file__).parents[1] / "docs" / "limits.md"
    expected = {
        one.name: "Limits()" if one.name == "limits" else str(getattr(made, one.name))
        # The tests' own default may be another link.
        for made in (Limits(), Compression(), ChannelRule(), Config(link="auto"))
        for one in fields(made)
    }
    assert dict(DOCUMENTED.findall(manual.read_text())) == expected
