"""The examples in the chapter on the encoding, decoded and encoded."""

from __future__ import annotations

import re

import pytest

from quinkgl.wire.cbor import decode_untrusted, encode
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.spec_data import spec_directory

CHAPTER = (spec_directory() / "03-encoding.md").read_text(encoding="utf-8")


def lines(name: str) -> list[tuple[str, str]]:
    block = re.search(rf"```vector {name}\n(.*?)```", CHAPTER, re.DOTALL)
    assert block is not None
    return [tuple(line.split(" = ", 1)) for line in block[1].splitlines()]


def diagnostic(value: object) -> str:
    """The notation of RFC 8949 section 8."""
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(diagnostic, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {diagnostic(item)}" for key, item in value.items()) + "}"
    return {None: "null", True: "true", False: "false"}[value] if type(value) is not int else str(value)


@pytest.mark.parametrize(("data", "shown"), lines("accepted"))
def test_accepted(data, shown):
    value = decode_untrusted(bytes.fromhex(data), max_bytes=100, where="example")
    assert diagnostic(value) == shown
    assert encode(value).hex() == data


@pytest.mark.parametrize(("data", "shown"), lines("refused"))
def test_refused(data, shown):
    with pytest.raises(RemoteProtocolError) as caught:
        decode_untrusted(bytes.fromhex(data), max_bytes=100, where="example")
    assert caught.value.code is ErrorCode[shown.split()[0]]
