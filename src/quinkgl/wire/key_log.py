"""Lines of a key log: the traffic keys of sessions, for people who look into captured packets.

One line a session, direction and key phase, in the manner of the SSLKEYLOGFILE of TLS; whoever has the log
can read everything that these sessions said (``docs/reference/key-log.md``).
"""

from __future__ import annotations

from typing import NamedTuple

from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.limits import CONSTANTS

LABEL = "QGL_TRAFFIC"
_LARGEST_NUMBER = (1 << 8 * CONSTANTS.packet_number_bytes) - 1


class KeyLogEntry(NamedTuple):
    """The key of one direction of a session in one key phase."""

    handshake_hash: bytes
    """Names the session, 32 bytes: both directions have it, and the logs of both sides."""
    destination_id: bytes
    """The direction: the connection id, 8 bytes, that its packets bore when the session began."""
    phase: int
    """Key updates of this direction so far; the key phase bit of its packets is its lowest bit."""
    first_number: int
    """The packet number with which the writer of the log began to use the key."""
    key: bytes
    """The AES-256-GCM key, 32 bytes."""


def format_key_log(entry: KeyLogEntry) -> str:
    """Return the line of an entry, without a line end."""
    return (
        f"{LABEL} {entry.handshake_hash.hex()} {entry.destination_id.hex()} {entry.phase} "
        f"{entry.first_number} {entry.key.hex()}"
    )


def parse_key_log(line: str) -> KeyLogEntry | None:
    """Return the entry of a line, None for a comment, an empty line and lines of other labels.

    Raises LocalProtocolError (E_USAGE) for a line with the label that is not as :func:`format_key_log` writes
    it.
    """
    words = line.split()
    if not words or words[0] != LABEL:
        return None
    try:
        handshake_hash, destination_id, phase, first_number, key = words[1:]
        entry = KeyLogEntry(
            bytes.fromhex(handshake_hash),
            bytes.fromhex(destination_id),
            int(phase),
            int(first_number),
            bytes.fromhex(key),
        )
    except ValueError:
        raise _malformed(line) from None
    lengths = len(entry.handshake_hash), len(entry.destination_id), len(entry.key)
    in_range = entry.phase >= 0 and 0 <= entry.first_number <= _LARGEST_NUMBER
    if lengths != (CONSTANTS.key_bytes, CONSTANTS.connection_id_bytes, CONSTANTS.key_bytes) or not in_range:
        raise _malformed(line)
    return entry


def _malformed(line: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.E_USAGE, f"not a line of a key log: {line.strip()[:60]!r}")
