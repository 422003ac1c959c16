"""The examples in the chapters on identity and keys, recomputed."""

from __future__ import annotations

import re

import pytest

from quinkgl.crypto.cose import decode_sign1_untrusted, sign1, verify_sign1_untrusted
from quinkgl.crypto.identity import SMALL_ORDER_Y, Identity, verify_bytes_untrusted
from quinkgl.crypto.psk import SwarmKeys, derive_fetch_keys, derive_member_keys, derive_service_keys
from quinkgl.wire.spec_data import spec_directory


def chapter(name: str) -> str:
    return (spec_directory() / name).read_text(encoding="utf-8")


def vector(page: str, name: str) -> dict[str, str]:
    """Read a fenced block of lines ``name = value``; long values run on in lines that begin with spaces."""
    block = re.search(rf"```vector {name}\n(.*?)```", chapter(page), re.DOTALL)
    assert block is not None
    joined = re.sub(r"\n +", "", block[1])
    return dict(line.split(" = ", 1) for line in joined.splitlines())


@pytest.mark.req("I-006", "I-007")
def test_signature():
    example = vector("02-identity.md", "signature")
    identity = Identity.from_seed(bytes.fromhex(example["seed"]))
    message, signature = bytes.fromhex(example["message"]), bytes.fromhex(example["signature"])
    assert identity.peer_id.hex() == example["peer id"]
    assert identity.sign(example["domain"], message) == signature
    label = f"qgl1 {example['domain']}".encode()
    verify_bytes_untrusted(identity.peer_id, label + b"\x00" + message, signature)


@pytest.mark.req("I-010")
def test_envelope():
    example = vector("02-identity.md", "envelope")
    identity = Identity.from_seed(bytes.fromhex(example["seed"]))
    envelope = bytes.fromhex(example["envelope"])
    assert sign1(identity, example["domain"], bytes.fromhex(example["payload"])) == envelope
    opened = decode_sign1_untrusted(envelope, max_bytes=len(envelope))
    verify_sign1_untrusted(opened, example["domain"], identity.peer_id)
    verify_bytes_untrusted(identity.peer_id, bytes.fromhex(example["signed"]), opened.signature)


@pytest.mark.req("I-003")
def test_the_table_of_refused_keys_is_the_one_that_is_refused():
    rows = re.findall(r"^\| `([0-9a-f]{64})` \| [1248] \|", chapter("02-identity.md"), re.MULTILINE)
    assert {int.from_bytes(bytes.fromhex(row), "little") for row in rows} == set(SMALL_ORDER_Y)


@pytest.mark.req("K-001")
def test_keys():
    example = {name: bytes.fromhex(value) for name, value in vector("05a-keys.md", "keys").items()}

    def check(mode: str, keys: SwarmKeys) -> None:
        assert keys.root == example[f"{mode} root"]
        assert keys.psk == example[f"{mode} psk"]
        assert keys.mac1_key == example[f"{mode} mac1 key"]

    member = derive_member_keys(example["manifest"], example["join secret"])
    assert member.swarm_id == example["member swarm id"]
    check("member", member)
    check("fetch", derive_fetch_keys(member.swarm_id, example["join secret"]))
    service = derive_service_keys(example["service peer id"])
    assert service.swarm_id == example["service swarm id"]
    check("service", service)
