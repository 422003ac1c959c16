"""Limits and constants against their data files, at each bound and one beyond it."""

from __future__ import annotations

import dataclasses
import math
import runpy

import pytest

from quinkgl.wire import limits, spec_data
from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.limits import CONSTANTS, HARD, LEAST, LIMITS, limits_with

DATA = spec_data.load("limits")
LOCAL = [name for name, entry in DATA.items() if entry["status"] == "local"]
FIXED = [name for name, entry in DATA.items() if entry["status"] == "fixed"]


def test_every_limit_is_typed_ordered_and_explained():
    assert [field.name for field in dataclasses.fields(LIMITS)] == list(DATA)
    for name, entry in DATA.items():
        default = getattr(LIMITS, name)
        assert default == entry["default"]
        assert type(default) is type(getattr(HARD, name)) is type(getattr(LEAST, name))
        assert getattr(LEAST, name) <= default <= getattr(HARD, name)
        assert entry["why"].endswith(".")
        assert entry["status"] in ("fixed", "local")
        assert entry.keys() <= {"default", "max", "min", "why", "status"}
        if entry["status"] == "fixed":
            assert not entry.keys() & {"max", "min"}


@pytest.mark.req("L-004")
def test_every_constant_is_explained():
    data = spec_data.load("constants")
    for name, entry in data.items():
        value = tuple(entry["value"]) if isinstance(entry["value"], list) else entry["value"]
        assert getattr(CONSTANTS, name) == value
        assert entry["why"].endswith(".")
    assert [field.name for field in dataclasses.fields(CONSTANTS)] == list(data)


def test_numbers_that_fit_together():
    assert LIMITS.control_window_bytes >= LIMITS.control_message_bytes + 3
    assert LIMITS.shuffle_length * (LIMITS.record_bytes + 3) + 32 <= LIMITS.control_message_bytes
    assert LIMITS.credit_per_transfer_bytes >= LIMITS.leaf_bytes
    assert HARD.control_message_bytes <= 0xFFFF
    assert CONSTANTS.relayed_mtu_bytes < CONSTANTS.base_mtu_bytes == LIMITS.init_min_datagram_bytes
    assert LIMITS.keepalive_s < LIMITS.idle_timeout_s
    assert sum(LIMITS.handshake_timeout_s * 2**n for n in range(LIMITS.handshake_retries)) == pytest.approx(
        LIMITS.handshake_total_s
    )
    assert list(CONSTANTS.mtu_probes_bytes) == sorted(CONSTANTS.mtu_probes_bytes)
    assert CONSTANTS.mtu_probes_bytes[-1] <= LIMITS.max_datagram_bytes


def test_values_that_the_specification_names():
    assert (LIMITS.replay_window, LIMITS.cbor_depth, LIMITS.cbor_items) == (4096, 8, 1024)
    assert (LIMITS.leaf_bytes, LIMITS.header_bytes, LIMITS.record_bytes) == (16384, 512, 512)
    assert (HARD.credit_per_transfer_bytes, HARD.half_open) == (8388608, 4096)
    assert CONSTANTS.noise_protocol == "Noise_XXpsk0+psk3_25519_AESGCM_SHA256"
    assert CONSTANTS.key_phase_packets <= 2**23  # RFC 9001 section 6.6, for datagrams up to 2^16 bytes


@pytest.mark.req("L-002")
@pytest.mark.parametrize("name", LOCAL)
def test_each_limit_at_its_bounds_and_one_beyond(name):
    for bound in (getattr(LEAST, name), getattr(HARD, name)):
        changed = limits_with(**{name: bound})
        assert getattr(changed, name) == bound
        assert dataclasses.replace(changed, **{name: getattr(LIMITS, name)}) == LIMITS
    for beyond in (getattr(HARD, name) + 1, getattr(LEAST, name) - 1, -1):
        with pytest.raises(LocalProtocolError, match=f"limit {name} = ") as caught:
            limits_with(**{name: beyond})
        assert caught.value.code is ErrorCode.E_USAGE


@pytest.mark.req("L-001")
@pytest.mark.parametrize("name", FIXED)
def test_what_peers_rely_on_cannot_be_changed(name):
    with pytest.raises(LocalProtocolError, match="part of the protocol"):
        limits_with(**{name: getattr(LIMITS, name)})


def test_changes_build_on_each_other():
    first = limits_with(half_open=3)
    second = limits_with(first, idle_timeout_s=5)
    assert (second.half_open, second.idle_timeout_s) == (3, 5.0)
    assert type(second.idle_timeout_s) is float
    assert LIMITS.half_open == 256


@pytest.mark.parametrize(
    "changes",
    [
        {"half_opened": 1},
        {"half_open": 2.0},
        {"half_open": True},
        {"half_open": "2"},
        {"half_open": None},
        {"idle_timeout_s": math.nan},
        {"idle_timeout_s": math.inf},
        {"idle_timeout_s": True},
    ],
)
def test_nonsense_is_the_callers_mistake(changes):
    with pytest.raises(LocalProtocolError) as caught:
        limits_with(**changes)
    assert caught.value.code is ErrorCode.E_USAGE


def test_limits_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LIMITS.half_open = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[half_open]", "[half_opened]", "half_open"),
        ("[half_open]", "[unheard_of]\ndefault = 1\nstatus = 'fixed'\n\n[half_open]", "unheard_of"),
        ("default = 256\nmax = 4096", "default = 256.0\nmax = 4096", "half_open is a float"),
    ],
)
def test_a_data_file_that_differs_is_noticed_at_import(monkeypatch, tmp_path, old, new, message):
    for name in ("limits.toml", "constants.toml", "registries/errors.toml"):
        text = (spec_data.spec_directory() / name).read_text(encoding="utf-8")
        if name == "limits.toml":
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(spec_data, "spec_directory", lambda: tmp_path)
    with pytest.raises(ImportError, match=message):
        runpy.run_path(limits.__file__)
