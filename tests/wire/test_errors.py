"""Error codes against their registry, and the two exceptions."""

from __future__ import annotations

import runpy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.wire import errors, spec_data
from quinkgl.wire.errors import (
    ErrorCode,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    error_code_untrusted,
)

REGISTRY = spec_data.load("registries/errors")


def test_every_code_has_its_registered_number_scope_and_words():
    assert list(ErrorCode.__members__) == list(REGISTRY)
    for code in ErrorCode:
        entry = REGISTRY[code.name]
        assert (code.value, code.scope, code.when) == (entry["code"], entry["scope"], entry["when"])
        assert entry["when"].endswith(".")
        assert entry["reaction"]
        assert code.scope in {"drop", "close", "transfer", "request", "local"}


def test_numbers_are_unique_ascending_and_never_grease():
    numbers = [entry["code"] for entry in REGISTRY.values()]
    assert numbers == sorted(set(numbers))
    assert not [number for number in numbers if number >= 0x1B and (number - 0x1B) % 0x1F == 0]
    assert all(ErrorCode[name].scope == "local" for name, entry in REGISTRY.items() if entry["code"] >= 0xE0)


def test_numbers_that_other_software_may_know():
    known = {"NO_ERROR": 0, "E_PROTOCOL": 2, "E_CBOR": 0x20, "E_SCHEMA": 0x22, "E_OBJ_HASH": 0x40}
    known |= {"SUPERSEDED": 0x44, "E_EQUIVOCATION": 0x54, "E_RLY_LOOP": 0x95}
    assert {name: ErrorCode[name].value for name in known} == known


@pytest.mark.req("E-002")
@given(st.integers(0, 0xFFFF))
def test_any_number_from_the_wire_is_a_code(value):
    code = error_code_untrusted(value)
    if value in {member.value for member in ErrorCode if member.scope != "local"}:
        assert code.value == value
    else:
        assert code is ErrorCode.E_PROTOCOL


@pytest.mark.req("E-002")
@pytest.mark.parametrize("value", [0x1B, 0x3A, 0x000C, 0x00E0, 0x00FF, 0xFF00, 0x002F])
def test_grease_local_private_and_unknown_codes_mean_protocol_error(value):
    assert error_code_untrusted(value) is ErrorCode.E_PROTOCOL


def test_an_error_is_one_clear_line():
    peer = bytes(range(32))
    assert str(RemoteProtocolError(ErrorCode.E_CBOR, "hello: no CBOR")) == "E_CBOR: hello: no CBOR"
    whole = RemoteProtocolError(ErrorCode.E_SCHEMA, "key 1", layer="protocol", peer=peer, section="G-004")
    assert str(whole) == "E_SCHEMA: key 1 [G-004] (peer 00010203)"
    assert (whole.code, whole.layer, whole.peer, whole.section, whole.message) == (
        ErrorCode.E_SCHEMA,
        "protocol",
        peer,
        "G-004",
        "key 1",
    )


def test_local_and_remote_errors_are_told_apart():
    for kind in (LocalProtocolError, RemoteProtocolError):
        error = kind(ErrorCode.E_USAGE, "x")
        assert isinstance(error, ProtocolError)
        assert (error.layer, error.peer, error.section) == ("wire", None, "")
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
    assert not issubclass(RemoteProtocolError, LocalProtocolError)


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_a_registry_that_differs_is_noticed_at_import(monkeypatch, tmp_path, change):
    registry = tmp_path / "registries" / "errors.toml"
    registry.parent.mkdir()
    text = (spec_data.spec_directory() / "registries" / "errors.toml").read_text(encoding="utf-8")
    if change == "missing":
        text = text.replace("[E_RLY_LOOP]", "[E_RLY_OTHER]")
    else:
        text += '[E_NEW]\ncode = 0x96\nscope = "drop"\nwhen = "."\nreaction = "."\n'
    registry.write_text(text, encoding="utf-8")
    monkeypatch.setattr(spec_data, "spec_directory", lambda: tmp_path)
    with pytest.raises((ImportError, KeyError), match=r"E_RLY_LOOP|E_NEW"):
        runpy.run_path(errors.__file__)
