"""Where fresh private keys come from.

Everything else a machine draws comes from its one ``rng``. Keys do not, unless a simulation says in so many
words that it wants worthless ones: a key drawn from a seeded generator is known to everybody who knows the
seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from quinkgl.crypto.null_cipher import NullPacketKeys
from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.limits import CONSTANTS

if TYPE_CHECKING:
    import random

_BLOCK_BYTES = 32


def _system_bytes(count: int) -> bytes:
    """Return bytes of the operating system's generator, drawn by ``cryptography``."""
    blocks = -(-count // _BLOCK_BYTES)
    return b"".join(AESGCM.generate_key(8 * _BLOCK_BYTES) for _ in range(blocks))[:count]


class KeySource:
    """Makes private keys and secret bytes; made by :meth:`system` or :meth:`insecure_deterministic`."""

    __slots__ = ("_draw", "packet_keys")

    def __init__(self, draw: Callable[[int], bytes], packet_keys: type[PacketKeys] = PacketKeys) -> None:
        self._draw = draw
        self.packet_keys = packet_keys
        """What protects the packets of sessions: the real cipher, but in simulations that say otherwise."""

    @classmethod
    def system(cls) -> KeySource:
        """Keys from the operating system's generator, the only ones that protect anything."""
        return cls(_system_bytes)

    @classmethod
    def insecure_deterministic(cls, rng: random.Random, *, null_cipher: bool = False) -> KeySource:
        """Keys from a seeded generator, so that a simulation can be repeated. They protect nothing.

        One thing stays random: the library takes no seed for ML-KEM encapsulation. So two runs of a
        simulation with post-quantum exchanges have the same datagrams at the same times, of the same sizes
        and with the same content inside, but not the same ciphertext.
        """
        return cls(rng.randbytes, NullPacketKeys if null_cipher else PacketKeys)

    def x25519(self) -> X25519PrivateKey:
        """Return a fresh X25519 private key (RFC 7748)."""
        return X25519PrivateKey.from_private_bytes(self._draw(CONSTANTS.key_bytes))

    def ed25519(self) -> Ed25519PrivateKey:
        """Return a fresh Ed25519 private key (RFC 8032)."""
        return Ed25519PrivateKey.from_private_bytes(self._draw(CONSTANTS.key_bytes))

    def ml_kem(self) -> MLKEM768PrivateKey:
        """Return a fresh ML-KEM-768 private key (FIPS 203), made from its 64-byte seed."""
        return MLKEM768PrivateKey.from_seed_bytes(self._draw(CONSTANTS.ml_kem_seed_bytes))

    def random_bytes(self, count: int) -> bytes:
        """Return ``count`` fresh secret bytes."""
        return self._draw(count)


def key_source(
    rng: random.Random, *, insecure_deterministic_keys: bool, insecure_null_cipher: bool = False
) -> KeySource:
    """Return the key source that goes with a machine's ``rng`` [W-031].

    ``random.SystemRandom`` gives the system's source. A seeded generator gives the deterministic one if
    ``insecure_deterministic_keys`` is set, and is a LocalProtocolError (E_USAGE) otherwise: nobody gets
    guessable keys by having forgotten something.

    ``insecure_null_cipher`` leaves the packets of sessions unprotected (``null_cipher``). It is a
    LocalProtocolError unless the keys are worthless already: the generator seeded, and that permitted.
    """
    try:
        rng.getstate()
    except NotImplementedError:  # a SystemRandom has no state that anyone could know
        if insecure_null_cipher:
            raise LocalProtocolError(
                ErrorCode.E_USAGE,
                "the null cipher is for simulations with a seeded generator",
                layer="crypto",
            ) from None
        return KeySource.system()
    if insecure_deterministic_keys:
        return KeySource.insecure_deterministic(rng, null_cipher=insecure_null_cipher)
    raise LocalProtocolError(
        ErrorCode.E_USAGE,
        "keys from a seeded generator are no secret: pass random.SystemRandom(), "
        "or insecure_deterministic_keys=True in a simulation",
        layer="crypto",
    )
