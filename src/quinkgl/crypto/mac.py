"""mac1: proof, on the first packet, that its sender knows the swarm.

HMAC-SHA-256 cut to 128 bits (RFC 2104 section 5). It costs about a microsecond and stands before every
Diffie-Hellman operation; a packet that fails it is met with silence.
"""

from __future__ import annotations

import hmac

from quinkgl.crypto.short_hmac import short_hmac
from quinkgl.wire.limits import CONSTANTS


def mac1(key: bytes, *parts: bytes | bytearray | memoryview) -> bytes:
    """Return 16 bytes of HMAC-SHA-256 over the concatenation of ``parts``."""
    return short_hmac(key, b"".join(parts))[: CONSTANTS.mac1_bytes]


def verify(key: bytes, tag: bytes | bytearray | memoryview, *parts: bytes | bytearray | memoryview) -> bool:
    """Whether ``tag`` is the mac1 of ``parts``, in time that does not depend on where it differs."""
    # S-012, K-006
    return hmac.compare_digest(mac1(key, *parts), bytes(tag))
