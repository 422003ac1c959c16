"""Long packets, the payloads of messages 2 and 3, cookies, versions (chapters 1, 5 and 6.2)."""

from typing import Any

from .data import CONSTANTS, LABELS, LIMITS, SpecError, need
from .identity import check_peer_id, sign, signed_bytes, verifies
from .manifest import Keys, mac1
from .messages import decode_map, encode_map
from .primitives import expand, mac, same, seal, unseal

INIT, RESP, FIN, COOKIE, VERNEG = 0xC0, 0xC1, 0xC2, 0xC3, 0xC4
VERSION: int = CONSTANTS["version"]


def prologue(version: int, swarm_id: bytes, mode: int, versions: list[int]) -> bytes:
    """What both sides mix in before the first message (S-006)."""
    magic = str(CONSTANTS["prologue_magic"]).encode()
    return (
        magic + version.to_bytes(4, "big") + swarm_id + bytes([mode, len(versions)]) + version_bytes(versions)
    )


def version_bytes(versions: list[int]) -> bytes:
    """Versions as they stand in an INIT and in VERNEG."""
    return b"".join(version.to_bytes(4, "big") for version in versions)


def is_grease_version(version: int) -> bool:
    """Whether a version has the form 0x?a?a?a?a (V-005)."""
    return version & 0x0F0F0F0F == 0x0A0A0A0A


def long_header(first: int, version: int, destination: bytes, source: bytes) -> bytes:
    """The first 21 bytes of every long packet (1.3)."""
    return bytes([first]) + version.to_bytes(4, "big") + destination + source


def long_fields(datagram: bytes) -> dict[str, Any]:
    """Read those 21 bytes; nothing behind them is looked at (V-004)."""
    need(len(datagram) >= 21 and datagram[0] & 0xC0 == 0xC0, "E_PROTOCOL", "not a long packet")
    return {
        "first": datagram[0],
        "version": int.from_bytes(datagram[1:5], "big"),
        "destination": datagram[5:13],
        "source": datagram[13:21],
    }


def spoken_fields(datagram: bytes) -> dict[str, Any]:
    """The same of a packet of this version, refused in the order of P-013."""
    fields = long_fields(datagram)
    need(len(datagram) >= 22, "E_PROTOCOL", "a packet that is too short")
    need(fields["version"] == VERSION, "E_VERSION", "a version that is not spoken here")
    need(not datagram[0] & 0x30, "E_PROTOCOL", "reserved bits are set")
    return fields


def encode_init(
    keys: Keys, versions: list[int], destination: bytes, source: bytes, message: bytes, version: int = VERSION
) -> bytes:
    """An INIT without a cookie: padded, with mac1 and a mac2 of zeros (S-010, S-011)."""
    head = long_header(INIT, version, destination, source)
    body = bytes([len(versions)]) + version_bytes(versions) + len(message).to_bytes(2, "big") + message
    body = body.ljust(LIMITS["init_min_datagram_bytes"] - 53, b"\0")
    return head + mac1(keys.mac1_key, head + bytes(32) + body) + bytes(16) + body


def decode_init(datagram: bytes) -> dict[str, Any]:
    """The fields of an INIT; `E_PROTOCOL` where its form is wrong. mac1 and message are not checked here."""
    fields = spoken_fields(datagram)
    need(datagram[0] == INIT, "E_PROTOCOL", "not an INIT")
    need(len(datagram) >= LIMITS["init_min_datagram_bytes"], "E_PROTOCOL", "an INIT that is too short")
    count = datagram[53]
    need(1 <= count <= 16, "E_PROTOCOL", "a list of 0 or of more than 16 versions")
    start = 56 + 4 * count
    end = start + int.from_bytes(datagram[start - 2 : start], "big")
    need(end <= len(datagram), "E_PROTOCOL", "a message that is longer than the packet")
    need(not any(datagram[end:]), "E_PROTOCOL", "padding that is not zero")
    versions = [int.from_bytes(datagram[at : at + 4], "big") for at in range(54, start - 2, 4)]
    message = datagram[start:end]
    return fields | {
        "mac1": datagram[21:37],
        "mac2": datagram[37:53],
        "versions": versions,
        "message": message,
    }


def opens_in_another_version(datagram: bytes) -> bool:
    """Whether a datagram opens a session in a version that is not spoken here (V-011)."""
    return len(datagram) >= LIMITS["init_min_datagram_bytes"] and long_fields(datagram)["version"] not in (
        0,
        VERSION,
    )


def check_versions(versions: list[int], version: int, spoken: list[int]) -> None:
    """`E_VERSION` where the responder speaks a version that the initiator likes better (S-073)."""
    first = next((offered for offered in versions if offered in spoken), None)
    need(first == version, "E_VERSION", "the first version of the list that is spoken here is another")


def encode_answer(
    first: int, destination: bytes, source: bytes, message: bytes, version: int = VERSION
) -> bytes:
    """RESP or FIN (6.2)."""
    return long_header(first, version, destination, source) + len(message).to_bytes(2, "big") + message


def decode_answer(datagram: bytes) -> dict[str, Any]:
    """The fields of a RESP or FIN."""
    fields = spoken_fields(datagram)
    need(datagram[0] in (RESP, FIN), "E_PROTOCOL", "neither RESP nor FIN")
    need(
        len(datagram) == 23 + int.from_bytes(datagram[21:23], "big"),
        "E_PROTOCOL",
        "another length than it says",
    )
    return fields | {"message": datagram[23:]}


def encode_verneg(init: bytes, versions: list[int]) -> bytes:
    """The list of versions, as the answer to an INIT of another version (1.6)."""
    fields = long_fields(init)
    need(1 <= len(versions) <= 16, "E_PROTOCOL", "a list of 1 to 16 versions")
    head = long_header(VERNEG, 0, fields["source"], fields["destination"])
    return head + bytes([len(versions)]) + version_bytes(versions)


def decode_verneg(datagram: bytes) -> dict[str, Any]:
    """The fields of a VERNEG (V-012)."""
    fields = long_fields(datagram)
    need(datagram[0] == VERNEG and fields["version"] == 0, "E_PROTOCOL", "not a VERNEG")
    need(
        len(datagram) >= 22 and 1 <= datagram[21] <= 16,
        "E_PROTOCOL",
        "a list of 0 or of more than 16 versions",
    )
    need(len(datagram) == 22 + 4 * datagram[21], "E_PROTOCOL", "another length than it says")
    return fields | {
        "versions": [int.from_bytes(datagram[at : at + 4], "big") for at in range(22, len(datagram), 4)]
    }


def choose_version(offered: list[int], listed: list[int], opened: int) -> int:
    """The version to begin anew in after a VERNEG (S-072); `E_VERSION` where there is none."""
    need(opened not in listed, "E_VERSION", "the list names the version of the INIT")
    common = [version for version in offered if version in listed and not is_grease_version(version)]
    need(common, "E_VERSION", "no common version")
    return common[0]


def cookie_key(mac1_key: bytes, nonce: bytes) -> bytes:
    """The key that seals a cookie (5.9)."""
    return expand(mac1_key, LABELS["cookie"] + nonce, 32)


def encode_cookie(keys: Keys, init: bytes, nonce: bytes, cookie: bytes) -> bytes:
    """COOKIE for an INIT; the nonce is 16 random bytes."""
    head = long_header(COOKIE, int.from_bytes(init[1:5], "big"), init[13:21], bytes(8))
    return head + nonce + seal(cookie_key(keys.mac1_key, nonce), 0, init[21:37], cookie)


def open_cookie(keys: Keys, init: bytes, datagram: bytes) -> bytes:
    """The cookie of a COOKIE that answers this INIT (S-065)."""
    fields = long_fields(datagram)
    need(datagram[0] == COOKIE and len(datagram) == 69, "E_PROTOCOL", "not a COOKIE")
    need(
        fields["version"] == int.from_bytes(init[1:5], "big"), "E_VERSION", "another version than the INIT's"
    )
    need(fields["destination"] == init[13:21], "E_PROTOCOL", "an answer to another INIT")
    cookie = unseal(cookie_key(keys.mac1_key, datagram[21:37]), 0, init[21:37], datagram[37:])
    if cookie is None:
        raise SpecError("E_HS_DECRYPT", "a cookie that is not authentic")
    return cookie


def mac2(cookie: bytes, init: bytes) -> bytes:
    """mac2 of an INIT under a cookie (5.9)."""
    return mac(cookie, init[:37] + init[53:])[:16]


def with_mac2(cookie: bytes, init: bytes) -> bytes:
    """The same INIT, with its mac2."""
    return init[:37] + mac2(cookie, init) + init[53:]


def proves_address(cookie: bytes, init: bytes) -> bool:
    """Whether the INIT's mac2 is under this cookie."""
    return same(mac2(cookie, init), init[37:53])


def identity_signed(*, initiator: bool, h: bytes, static: bytes) -> bytes:
    """What the signature of a payload covers (5.5)."""
    return signed_bytes("handshake", bytes([0 if initiator else 1]) + h + static)


def encode_payload(
    seed: bytes, peer: bytes, fields: dict[str, Any], *, initiator: bool, h: bytes, static: bytes
) -> bytes:
    """The payload of message 2 or 3; `fields` hold the parameters, the connection id and what is optional."""
    signature = sign(seed, identity_signed(initiator=initiator, h=h, static=static))
    payload = encode_map("payload", {"peer": peer, "signature": signature} | fields)
    need(len(payload) <= LIMITS["handshake_payload_bytes"], "E_TOO_BIG", "a payload that is too long")
    return payload


def decode_payload(payload: bytes, *, initiator: bool, h: bytes, static: bytes) -> dict[str, Any]:
    """Check a payload in the order of S-021: schema, peer id, signature. `initiator` says who wrote it."""
    fields = decode_map("payload", payload, LIMITS["handshake_payload_bytes"])
    check_peer_id(fields["peer"])
    signed = identity_signed(initiator=initiator, h=h, static=static)
    need(
        verifies(fields["peer"], fields["signature"], signed),
        "E_HS_IDENTITY",
        "a signature that does not verify",
    )
    return fields
