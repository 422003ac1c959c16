"""The Noise handshake: Noise Protocol Framework, revision 34, over X25519, SHA-256 and AES-256-GCM.

The three objects are those of section 5. A message is written and read in two steps, because what a peer
signs is the handshake hash between them: first the tokens (public keys and Diffie-Hellman), then the
payload::

    message = state.write_tokens()          rest = state.read_tokens_untrusted(message)
    ... sign state.handshake_hash ...       ... remember state.handshake_hash ...
    message += state.write_payload(data)    data = state.read_payload_untrusted(rest)

Reading is a transaction: a message that fails leaves the state as it was before, so a forged datagram cannot
end a handshake that an authentic one may still complete.

The session uses ``Noise_XXpsk0+psk3_25519_AESGCM_SHA256``. Any other placement of psk tokens in XX works too.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from hashlib import sha256
from struct import Struct
from typing import NamedTuple, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from quinkgl.crypto.short_hmac import hmac_pads as _pads
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS

_KEY_BYTES = CONSTANTS.key_bytes
_TAG_BYTES = CONSTANTS.tag_bytes
_MAX_MESSAGE_BYTES = 65535  # section 3

_pack_nonce = Struct(">4xQ").pack  # section 12.4


class _Token(Enum):
    """Steps of a message (section 7.1). A pair names the initiator's key, then the responder's."""

    def __init__(self, name: str) -> None:
        self.of_initiator = name[0]
        self.of_responder = name[-1]

    E = "e"
    S = "s"
    EE = "ee"
    ES = "es"
    SE = "se"
    PSK = "psk"


_E, _S, _PSK = _Token.E, _Token.S, _Token.PSK  # a global is found faster than a member of an enumeration
_XX = ((_E,), (_E, _Token.EE, _S, _Token.ES), (_S, _Token.SE))
"""Tokens of each message (section 7.5); the initiator writes the first, then they take turns."""


class _Protocol(NamedTuple):
    """What the name of a handshake says."""

    messages: tuple[tuple[_Token, ...], ...]
    """Tokens of each message, without the psk tokens that the first one begins with."""
    first_psks: int
    """How many psk tokens those are."""
    psks: int
    """How many psk tokens there are in all."""
    first_hash: bytes
    """The handshake hash and the chaining key at the start (section 5.2, InitializeSymmetric)."""


@cache
def _protocol(pattern: str) -> _Protocol:
    """Return what a pattern with its psk modifiers stands for: ``"XXpsk0+psk3"``."""
    first, *others = messages = _messages(pattern)
    first_psks = next(place for place, token in enumerate(first) if token is not _PSK)
    name = f"Noise_{pattern}_25519_AESGCM_SHA256".encode("ascii")
    return _Protocol(
        messages=(first[first_psks:], *others),
        first_psks=first_psks,
        psks=sum(tokens.count(_PSK) for tokens in messages),
        first_hash=name.ljust(_KEY_BYTES, b"\x00") if len(name) <= _KEY_BYTES else sha256(name).digest(),
    )


def _messages(pattern: str) -> tuple[tuple[_Token, ...], ...]:
    """Return the messages of XX with its psk modifiers (section 9.4)."""
    base, *places = pattern.replace("+", "").split("psk")
    messages = [list(tokens) for tokens in _XX]
    if base != "XX" or not all(place.isdecimal() and int(place) <= len(messages) for place in places):
        raise _misuse(f"{pattern!r} is not XX with psk modifiers from 0 to {len(messages)}")
    for place in map(int, places):
        if place == 0:
            messages[0].insert(0, _PSK)
        else:
            messages[place - 1].append(_PSK)
    return tuple(map(tuple, messages))


def _prk(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """Return the pads of the key that HKDF-Extract gives (RFC 5869 section 2.2)."""
    inner, outer = _pads(chaining_key)
    return _pads(sha256(outer + sha256(inner + material).digest()).digest())


def _hkdf2(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """HKDF of section 4.3, which is that of RFC 5869 without info: two 32-byte outputs."""
    inner, outer = _prk(chaining_key, material)
    first = sha256(outer + sha256(inner + b"\x01").digest()).digest()
    return first, sha256(outer + sha256(inner + first + b"\x02").digest()).digest()


def _hkdf3(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes, bytes]:
    """Return three outputs, as :func:`_hkdf2` does two."""
    inner, outer = _prk(chaining_key, material)
    first = sha256(outer + sha256(inner + b"\x01").digest()).digest()
    second = sha256(outer + sha256(inner + first + b"\x02").digest()).digest()
    return first, second, sha256(outer + sha256(inner + second + b"\x03").digest()).digest()


def _misuse(message: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.E_USAGE, message, layer="crypto")


def _broken(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.E_HS_DECRYPT, message, layer="crypto", section="K-010")


class _SymmetricState:
    """Chaining key, handshake hash, and the CipherState that both feed (sections 5.1 and 5.2)."""

    __slots__ = ("chaining_key", "counter", "handshake_hash", "key")

    def __init__(self, first_hash: bytes, prologue: bytes, start: Start) -> None:
        self.handshake_hash = first_hash
        self.mix_hash(prologue)
        self.chaining_key, self.key, hashed = start
        for each in hashed:
            self.mix_hash(each)
        self.counter = 0

    def snapshot(self) -> tuple[bytes, bytes, bytes | None, int]:
        return self.handshake_hash, self.chaining_key, self.key, self.counter

    def restore(self, snapshot: tuple[bytes, bytes, bytes | None, int]) -> None:
        self.handshake_hash, self.chaining_key, self.key, self.counter = snapshot

    def mix_hash(self, data: bytes) -> None:
        self.handshake_hash = sha256(self.handshake_hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self.chaining_key, self.key = _hkdf2(self.chaining_key, material)
        self.counter = 0

    def mix_key_and_hash(self, material: bytes) -> None:
        self.chaining_key, hashed, self.key = _hkdf3(self.chaining_key, material)
        self.mix_hash(hashed)
        self.counter = 0

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        if self.key is None:
            ciphertext = plaintext
        else:
            ciphertext = AESGCM(self.key).encrypt(_pack_nonce(self.counter), plaintext, self.handshake_hash)
            self.counter += 1
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """Raise InvalidTag where the ciphertext is not authentic."""
        if self.key is None:
            plaintext = ciphertext
        else:
            plaintext = AESGCM(self.key).decrypt(_pack_nonce(self.counter), ciphertext, self.handshake_hash)
            self.counter += 1
        self.mix_hash(ciphertext)
        return plaintext


class Start(NamedTuple):
    """What psk tokens in front of the first field come to: the same in all handshakes with these keys."""

    chaining_key: bytes
    key: bytes | None
    hashed: tuple[bytes, ...]
    """What each of them adds to the handshake hash."""


def start_of(pattern: str, psks: tuple[bytes, ...]) -> Start:
    """Process the psk tokens that the first message begins with; the result is as secret as the keys.

    Raises LocalProtocolError (E_USAGE) for other than one 32-byte key for each psk token.
    """
    protocol = _protocol(pattern)
    if [len(psk) for psk in psks] != [_KEY_BYTES] * protocol.psks:
        raise _misuse(f"{pattern} takes {protocol.psks} pre-shared keys of {_KEY_BYTES} bytes")
    chaining_key, key, hashed = protocol.first_hash, None, []
    for psk in psks[: protocol.first_psks]:
        chaining_key, added, key = _hkdf3(chaining_key, psk)
        hashed.append(added)
    return Start(chaining_key, key, tuple(hashed))


_Snapshot: TypeAlias = tuple[tuple[bytes, bytes, bytes | None, int], dict[str, X25519PublicKey], int]
"""What reading a message changes: the symmetric state, the remote keys, and how many psks were used."""


class Turn(Enum):
    """What a handshake expects next."""

    WRITE_TOKENS = "write_tokens"
    WRITE_PAYLOAD = "write_payload"
    READ_TOKENS = "read_tokens_untrusted"
    READ_PAYLOAD = "read_payload_untrusted"
    SPLIT = "split"


class HandshakeState:
    """One side of one handshake (section 5.3).

    ``pattern`` names it with its psk modifiers (``"XXpsk0+psk3"``); ``psks`` holds one 32-byte key for each
    psk token, in their order; ``static`` and ``ephemeral`` are fresh keys that nothing else uses.
    ``remote_static`` is the other side's static key once a message has brought it. Calling a method out of
    turn raises LocalProtocolError (E_USAGE) and changes nothing; ``turn`` says whose turn it is.
    """

    __slots__ = (
        "_before",
        "_initiator",
        "_messages",
        "_ours",
        "_position",
        "_psk_position",
        "_psks",
        "_symmetric",
        "_theirs",
        "turn",
    )

    def __init__(
        self,
        pattern: str,
        *,
        initiator: bool,
        prologue: bytes,
        static: X25519PrivateKey,
        psks: tuple[bytes, ...],
        ephemeral: X25519PrivateKey,
        start: Start | None = None,
    ) -> None:
        """Begin a handshake; ``start``, where given, is what `start_of` returned for pattern and keys."""
        protocol = _protocol(pattern)
        self._messages = protocol.messages
        start = start_of(pattern, psks) if start is None else start
        self._symmetric = _SymmetricState(protocol.first_hash, prologue, start)
        self._initiator = initiator
        self._ours = {"e": ephemeral, "s": static}
        self._theirs: dict[str, X25519PublicKey] = {}
        self._psks = psks
        self._psk_position = protocol.first_psks
        self._position = 0
        self.turn = Turn.WRITE_TOKENS if initiator else Turn.READ_TOKENS
        self._before: _Snapshot

    @property
    def handshake_hash(self) -> bytes:
        """Hash of everything so far, 32 bytes; after the last message it names the session (section 11.2)."""
        return self._symmetric.handshake_hash

    @property
    def remote_static(self) -> bytes | None:
        """The other side's static key, 32 bytes, once a message has brought it."""
        key = self._theirs.get("s")
        return None if key is None else key.public_bytes_raw()

    # --- writing ---

    def write_tokens(self) -> bytes:
        """Return the first part of our message: public keys, each encrypted where a key is already agreed."""
        self._take(Turn.WRITE_TOKENS)
        out = b""
        for token in self._messages[self._position]:
            if token is _E:
                public = self._ours["e"].public_key().public_bytes_raw()
                out += public
                self._mix_ephemeral(public)
            elif token is _S:
                out += self._symmetric.encrypt_and_hash(self._ours["s"].public_key().public_bytes_raw())
            else:
                self._mix(token)
        self.turn = Turn.WRITE_PAYLOAD
        return out

    def write_payload(self, payload: bytes) -> bytes:
        """Return the second part of our message, ``payload`` encrypted where a key is already agreed."""
        self._take(Turn.WRITE_PAYLOAD)
        ciphertext = self._symmetric.encrypt_and_hash(payload)
        self._advance(Turn.READ_TOKENS)
        return ciphertext

    # --- reading ---

    def read_tokens_untrusted(self, message: bytes | bytearray | memoryview) -> bytes:
        """Read the first part of the other side's message; return the rest, the payload's ciphertext.

        Raises RemoteProtocolError (E_HS_DECRYPT) for a message that is too short or too long, not authentic,
        or whose public key has small order (RFC 7748 section 6.1); the state is then as before.
        Rules: S-003, S-004, K-011.
        """
        self._take(Turn.READ_TOKENS)
        rest = bytes(message)
        if len(rest) > _MAX_MESSAGE_BYTES:
            raise _broken(f"a handshake message of {len(rest)} bytes")
        self._before = self._snapshot()
        try:
            for token in self._messages[self._position]:
                rest = self._read(token, rest)
        except InvalidTag:
            self._restore()
            raise _broken("a static key that is not authentic") from None
        except RemoteProtocolError:
            self._restore()
            raise
        self.turn = Turn.READ_PAYLOAD
        return rest

    def read_payload_untrusted(self, rest: bytes) -> bytes:
        """Return the payload of the message whose first part was just read.

        Raises RemoteProtocolError (E_HS_DECRYPT) where it is not authentic; the state is then as it was
        before the whole message, and expects another one.
        """
        self._take(Turn.READ_PAYLOAD)
        try:
            payload = self._symmetric.decrypt_and_hash(rest)
        except InvalidTag:
            self._restore()
            self.turn = Turn.READ_TOKENS
            raise _broken("a handshake payload that is not authentic") from None
        self._advance(Turn.WRITE_TOKENS)
        return payload

    # --- the end ---

    def split(self) -> tuple[bytes, bytes]:
        """Return the session's two 32-byte keys: the initiator's for sending, then the responder's."""
        self._take(Turn.SPLIT)
        return _hkdf2(self._symmetric.chaining_key, b"")

    # --- inside ---

    def _take(self, turn: Turn) -> None:
        if self.turn is not turn:
            raise _misuse(f"{turn.value} out of turn: the handshake expects {self.turn.value}")

    def _advance(self, following: Turn) -> None:
        self._position += 1
        self.turn = following if self._position < len(self._messages) else Turn.SPLIT

    def _snapshot(self) -> _Snapshot:
        return self._symmetric.snapshot(), dict(self._theirs), self._psk_position

    def _restore(self) -> None:
        symmetric, self._theirs, self._psk_position = self._before
        self._symmetric.restore(symmetric)

    def _read(self, token: _Token, rest: bytes) -> bytes:
        """Process one token of an incoming message; return what follows its field."""
        if token is _E:
            field, rest = self._cut(rest, _KEY_BYTES)
            self._theirs["e"] = X25519PublicKey.from_public_bytes(field)
            self._mix_ephemeral(field)
        elif token is _S:
            sealed = _KEY_BYTES if self._symmetric.key is None else _KEY_BYTES + _TAG_BYTES
            field, rest = self._cut(rest, sealed)
            public = self._symmetric.decrypt_and_hash(field)
            self._theirs["s"] = X25519PublicKey.from_public_bytes(public)
        else:
            self._mix(token)
        return rest

    @staticmethod
    def _cut(rest: bytes, size: int) -> tuple[bytes, bytes]:
        if len(rest) < size:
            raise _broken("a handshake message that ends inside a public key")
        return rest[:size], rest[size:]

    def _mix_ephemeral(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        if self._psks:  # section 9.2: the first message needs randomness of its own under a fixed key
            self._symmetric.mix_key(public)

    def _mix(self, token: _Token) -> None:
        """Process a token that has no field: a pre-shared key or a Diffie-Hellman operation."""
        if token is _PSK:
            self._symmetric.mix_key_and_hash(self._psks[self._psk_position])
            self._psk_position += 1
            return
        if self._initiator:
            ours, theirs = token.of_initiator, token.of_responder
        else:
            ours, theirs = token.of_responder, token.of_initiator
        try:
            shared = self._ours[ours].exchange(self._theirs[theirs])
        except ValueError:  # the result is all zero
            raise _broken("a public key of small order") from None
        self._symmetric.mix_key(shared)
