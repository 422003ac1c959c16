"""What a node knows of a swarm, as keys: pre-shared key, mac1 key and root.

They are derived from the manifest's *bytes*, not from the swarm id, which is public in every magnet link; a
join secret makes a swarm private on top. In an open swarm whose manifest is public the keys keep out
strangers' noise and bind the handshake to the manifest; they are no secret.

HKDF is RFC 5869 with SHA-256 (``spec/05a-keys.md``).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from enum import IntEnum

from quinkgl.wire.spec_data import load

_LABELS: dict[str, bytes] = {
    name: entry["label"].encode("ascii") for name, entry in load("registries/domains").items()
}


class Mode(IntEnum):
    """What the initiator wants of the session, and what it must know for that."""

    MEMBER = 1
    """Holds the manifest; takes part."""
    FETCH = 2
    """Knows the swarm id alone, from a magnet link; may ask for the manifest and for nothing else."""
    SERVICE = 3
    """Talks to a relay or rendezvous, which belongs to no swarm."""


@dataclass(frozen=True, slots=True)
class SwarmKeys:
    """Keys of one swarm in one mode; the secret ones stay out of the ``repr``. All values are 32 bytes."""

    # K-005

    swarm_id: bytes
    mode: Mode
    psk: bytes = field(repr=False)
    mac1_key: bytes = field(repr=False)
    root: bytes = field(repr=False)


def domain_label(domain: str) -> bytes:
    """Return the label of a domain of ``spec/registries/domains.toml``."""
    return _LABELS[domain]


def hkdf_extract(salt: bytes, ikm: bytes) -> bytes:
    """Return HKDF-Extract with SHA-256 (RFC 5869 section 2.2), 32 bytes."""
    return hmac.digest(salt, ikm, "sha256")


def hkdf_expand(prk: bytes, info: bytes) -> bytes:
    """Return the first 32 bytes of HKDF-Expand with SHA-256 (RFC 5869 section 2.3)."""
    return hmac.digest(prk, info + b"\x01", "sha256")


def swarm_id(manifest_bytes: bytes) -> bytes:
    """Return the swarm id: SHA-256 of the manifest's canonical bytes."""
    return hashlib.sha256(manifest_bytes).digest()


def _derive(identifier: bytes, mode: Mode, ikm: bytes) -> SwarmKeys:
    root = hkdf_extract(identifier, ikm)
    return SwarmKeys(
        swarm_id=identifier,
        mode=mode,
        psk=hkdf_expand(root, _LABELS["psk"]),
        mac1_key=hkdf_expand(root, _LABELS["mac1"]),
        root=root,
    )


def derive_member_keys(manifest_bytes: bytes, join_secret: bytes = b"") -> SwarmKeys:
    """Return the keys of a holder of the manifest [K-001, K-002].

    ``manifest_bytes`` are its canonical JSON bytes; ``join_secret`` is empty in a swarm without one.
    """
    possession = hashlib.sha256(_LABELS["possession"] + b"\x00" + manifest_bytes).digest()
    return _derive(swarm_id(manifest_bytes), Mode.MEMBER, possession + join_secret)


def derive_fetch_keys(swarm: bytes, join_secret: bytes = b"") -> SwarmKeys:
    """Return the keys of one who knows the 32-byte swarm id alone, and the join secret where there is one."""
    # K-001
    return _derive(swarm, Mode.FETCH, _LABELS["fetch"] + join_secret)


def derive_service_keys(service_peer_id: bytes) -> SwarmKeys:
    """Return the keys for talking to a relay or rendezvous whose 32-byte peer id is known."""
    identifier = hashlib.sha256(_LABELS["service"] + service_peer_id).digest()
    return _derive(identifier, Mode.SERVICE, service_peer_id)
