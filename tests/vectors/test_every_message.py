"""No message without vectors: each has cases that a receiver takes, and cases that it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quinkgl.testing.cddl_parser import Literal, Map
from quinkgl.testing.strategies import families
from quinkgl.wire.spec_data import load

VECTORS = Path(__file__).resolve().parents[2] / "spec" / "vectors"
TABLE = load("schema/messages")
MESSAGES = [
    (name, message) for name, family in families().items() if family.channel for message in family.messages
]
STATEMENTS = [name for name, family in families().items() if not family.channel]


def cases(family: str) -> list[dict[str, Any]]:
    text = (VECTORS / f"{TABLE[family]['vectors']}.json").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(text)["tests"]
    return found


def kind_of(family: str, message: str) -> int:
    rule = families()[family].schema.rule(message)
    assert isinstance(rule, Map)
    kind = rule.fields[0].value
    assert isinstance(kind, Literal)
    assert isinstance(kind.value, int)
    return kind.value


@pytest.mark.parametrize(("family", "message"), MESSAGES)
def test_a_message_has_valid_and_invalid_vectors(family, message):
    kind = kind_of(family, message)
    word = message.removeprefix("exchange-")
    of_it = [case for case in cases(family) if f"-{word}" in case["id"]]
    taken = [case for case in of_it if case["result"] == "valid"]
    assert [case["id"] for case in taken if case["out"]["kind"] == kind], f"no valid {message}"
    assert [case["id"] for case in of_it if case["result"] == "invalid"], f"no invalid {message}"


@pytest.mark.parametrize("family", STATEMENTS)
def test_what_stands_inside_of_something_has_valid_and_invalid_vectors(family):
    results = {case["result"] for case in cases(family)}
    assert results == {"valid", "invalid"}
