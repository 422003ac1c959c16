"""Noise_XXpsk0+psk3_25519_AESGCM_SHA256, revision 34, as functions from one state to the next.

A message is written and read in two steps, tokens then payload, since the payload holds a signature over the
hash between them. A reader that fails leaves its state as it was, for states never change (K-011).
"""

from dataclasses import dataclass, replace

from .data import CONSTANTS, SpecError, need
from .primitives import mac, seal, sha256, unseal, x25519, x25519_public

# The tokens of messages 1, 2 and 3. The initiator writes 1 and 3.
PATTERN = (("psk", "e"), ("e", "ee", "s", "es"), ("s", "se", "psk"))


@dataclass(frozen=True)
class Noise:
    """A handshake at one side, between two steps."""

    initiator: bool
    psk: bytes
    s: bytes
    ck: bytes
    h: bytes
    k: bytes | None = None
    n: int = 0
    e: bytes = b""
    rs: bytes = b""
    re: bytes = b""
    message: int = 0


def start(*, initiator: bool, prologue: bytes, psk: bytes, static: bytes) -> Noise:
    """Before the first message; `static` is this side's private X25519 key."""
    name = sha256(str(CONSTANTS["noise_protocol"]).encode())
    return Noise(initiator, psk, static, ck=name, h=sha256(name + prologue))


def hkdf(ck: bytes, material: bytes, outputs: int) -> list[bytes]:
    """Noise section 4.3."""
    temp, result = mac(ck, material), [b""]
    for number in range(1, outputs + 1):
        result.append(mac(temp, result[-1] + bytes([number])))
    return result[1:]


def mix_hash(state: Noise, data: bytes) -> Noise:
    """Section 5.2: h = HASH(h ‖ data)."""
    return replace(state, h=sha256(state.h + data))


def mix_key(state: Noise, material: bytes) -> Noise:
    """Section 5.2: a new chaining key and cipher key."""
    ck, k = hkdf(state.ck, material, 2)
    return replace(state, ck=ck, k=k, n=0)


def mix_psk(state: Noise) -> Noise:
    """Section 5.2: MixKeyAndHash(psk)."""
    ck, h, k = hkdf(state.ck, state.psk, 3)
    return replace(mix_hash(replace(state, ck=ck), h), k=k, n=0)


def encrypt(state: Noise, plaintext: bytes) -> tuple[Noise, bytes]:
    """Section 5.2: EncryptAndHash."""
    data = plaintext if state.k is None else seal(state.k, state.n, state.h, plaintext)
    return replace(mix_hash(state, data), n=state.n + 1), data


def decrypt(state: Noise, data: bytes) -> tuple[Noise, bytes]:
    """Section 5.2: DecryptAndHash; `E_HS_DECRYPT` where the tag is wrong."""
    plaintext = data if state.k is None else unseal(state.k, state.n, state.h, data)
    if plaintext is None:
        raise SpecError("E_HS_DECRYPT", "a handshake message that is not authentic")
    return replace(mix_hash(state, data), n=state.n + 1), plaintext


def mix_dh(state: Noise, token: str) -> Noise:
    """The tokens ee, es, se: the first letter is the initiator's key, the second the responder's."""
    mine, theirs = (0, 1) if state.initiator else (1, 0)
    private = state.e if token[mine] == "e" else state.s
    public = state.re if token[theirs] == "e" else state.rs
    return mix_key(state, x25519(private, public))


def write_tokens(state: Noise, ephemeral: bytes = b"") -> tuple[Noise, bytes]:
    """The bytes of the next message before its payload; messages 1 and 2 need a fresh private key."""
    message = b""
    for step in PATTERN[state.message]:
        if step == "psk":
            state = mix_psk(state)
        elif step == "e":
            public = x25519_public(ephemeral)
            state = mix_key(mix_hash(replace(state, e=ephemeral), public), public)
            message += public
        elif step == "s":
            state, data = encrypt(state, x25519_public(state.s))
            message += data
        else:
            state = mix_dh(state, step)
    return state, message


def write_payload(state: Noise, payload: bytes) -> tuple[Noise, bytes]:
    """The rest of the message."""
    state, data = encrypt(state, payload)
    return replace(state, message=state.message + 1), data


def read_tokens(state: Noise, message: bytes) -> tuple[Noise, bytes]:
    """Read what `write_tokens` wrote; returns what is left of the message."""
    for step in PATTERN[state.message]:
        if step == "psk":
            state = mix_psk(state)
        elif step == "e":
            public, message = _cut(message, 32)
            state = mix_key(mix_hash(replace(state, re=public), public), public)
        elif step == "s":
            data, message = _cut(message, 48)
            state, public = decrypt(state, data)
            state = replace(state, rs=public)
        else:
            state = mix_dh(state, step)
    return state, message


def read_payload(state: Noise, rest: bytes) -> tuple[Noise, bytes]:
    """The payload."""
    state, payload = decrypt(state, rest)
    return replace(state, message=state.message + 1), payload


def split(state: Noise) -> tuple[bytes, bytes]:
    """Section 5.2: the initiator's and the responder's first packet keys."""
    initiator, responder = hkdf(state.ck, b"", 2)
    return initiator, responder


def _cut(message: bytes, length: int) -> tuple[bytes, bytes]:
    need(len(message) >= length, "E_HS_DECRYPT", "a handshake message that is too short")
    return message[:length], message[length:]
