"""Short packets: frames and bulk, numbers, replay, key phases and new secrets (chapters 6, 5a.6 and 5a.7)."""

from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from .data import CONSTANTS, LABELS, LIMITS, SpecError, need
from .primitives import expand, extract, seal, unseal, x25519, x25519_public

SHORT, PHASE, BULK, RESERVED = 0x40, 0x20, 0x10, 0x08
FRAMES_HEADER, BULK_HEADER, TAG = 17, 29, 16
ML_KEM_768, X25519 = 1, 2
METHOD_LABEL = {ML_KEM_768: "pq", X25519: "ratchet"}


def frames_header(destination: bytes, number: int, *, phase: int = 0, random_bits: int = 0) -> bytes:
    """The 17 bytes in front of a packet's frames (6.3)."""
    first = SHORT | (phase & 1) * PHASE | random_bits & 7
    return bytes([first]) + destination + number.to_bytes(8, "big")


def bulk_header(
    destination: bytes, number: int, transfer: int, offset: int, *, phase: int = 0, random_bits: int = 0
) -> bytes:
    """The 29 bytes in front of a packet's chunk (6.4)."""
    head = frames_header(destination, number, phase=phase, random_bits=random_bits)
    return bytes([head[0] | BULK]) + head[1:] + transfer.to_bytes(4, "big") + offset.to_bytes(8, "big")


def seal_packet(key: bytes, header: bytes, plaintext: bytes) -> bytes:
    """Header, ciphertext and tag; the header is associated data, its packet number the nonce (P-021)."""
    return header + seal(key, int.from_bytes(header[9:17], "big"), header, plaintext)


def short_fields(datagram: bytes) -> dict[str, Any]:
    """What the header of a short packet says; "drop" for what is none (6.1)."""
    need(datagram and datagram[0] & 0xC0 == SHORT, "drop", "not a short packet")
    need(not datagram[0] & RESERVED, "drop", "a reserved form")
    size = BULK_HEADER if datagram[0] & BULK else FRAMES_HEADER
    need(len(datagram) >= size + TAG, "drop", "a packet without a tag")
    fields: dict[str, Any] = {
        "bulk": bool(datagram[0] & BULK),
        "phase": datagram[0] >> 5 & 1,
        "destination": datagram[1:9],
        "number": int.from_bytes(datagram[9:17], "big"),
        "header": datagram[:size],
    }
    if fields["bulk"]:
        fields["transfer"] = int.from_bytes(datagram[17:21], "big")
        fields["offset"] = int.from_bytes(datagram[21:29], "big")
    return fields


def open_packet(key: bytes, datagram: bytes) -> dict[str, Any]:
    """Fields and plaintext; "drop" for a wrong tag, a code of scope close for an empty packet."""
    fields = short_fields(datagram)
    header = fields["header"]
    plaintext = unseal(key, fields["number"], header, datagram[len(header) :])
    need(plaintext is not None, "drop", "a wrong tag")
    need(plaintext, "E_FLOW" if fields["bulk"] else "E_FRAME_FORMAT", "a packet without content")
    return fields | {"plaintext": plaintext}


def is_new(number: int, seen: set[int]) -> bool:
    """Whether a number is inside the window and was not authenticated before (P-022)."""
    highest = max(seen, default=-1)
    return number not in seen and number > highest - LIMITS["replay_window"]


def rekey(key: bytes) -> bytes:
    """k[n+1] of k[n], where no new secret is due (5a.6)."""
    return seal(key, 2**64 - 1, b"", bytes(32))[:32]


def mix_secret(key: bytes, secret: bytes, h: bytes, method: int) -> bytes:
    """k[n+1] of k[n] where a secret goes in (K-033)."""
    return expand(extract(key, secret + h), LABELS[METHOD_LABEL[method]], 32)


def key_choice(bit: int, number: int, present: int, lowest: int) -> str:
    """Which key a packet needs: "present", "before" or "next" (the table of 5a.6)."""
    if bit == present & 1:
        return "present"
    return "before" if number < lowest else "next"


def exchange_offer(method: int, private: bytes) -> bytes:
    """The value of OFFER: an encapsulation key from d and z, or a public key (5a.7)."""
    if method == X25519:
        return x25519_public(private)
    return MLKEM768PrivateKey.from_seed_bytes(private).public_key().public_bytes_raw()


def exchange_reply(method: int, value: bytes, private: bytes) -> tuple[bytes, bytes]:
    """The value of REPLY and the secret; `E_SCHEMA` for a value that is refused (K-032)."""
    need(len(value) == (1184 if method == ML_KEM_768 else 32), "E_SCHEMA", "a value of another length")
    try:
        if method == X25519:
            return x25519_public(private), x25519(private, value)
        secret, ciphertext = MLKEM768PublicKey.from_public_bytes(value).encapsulate()
    except (ValueError, SpecError) as error:
        raise SpecError("E_SCHEMA", "a public key that is refused") from error
    return ciphertext, secret


def exchange_secret(method: int, private: bytes, value: bytes) -> bytes:
    """The secret at the side that offered, from the value of REPLY."""
    need(len(value) == (1088 if method == ML_KEM_768 else 32), "E_SCHEMA", "a value of another length")
    try:
        if method == X25519:
            return x25519(private, value)
        return MLKEM768PrivateKey.from_seed_bytes(private).decapsulate(value)
    except (ValueError, SpecError) as error:
        raise SpecError("E_SCHEMA", "a value that is refused") from error


def has_ml_kem() -> bool:
    """Whether the library below can do ML-KEM-768."""
    try:
        MLKEM768PrivateKey.from_seed_bytes(bytes(CONSTANTS["ml_kem_seed_bytes"]))
    except UnsupportedAlgorithm:
        return False
    return True
