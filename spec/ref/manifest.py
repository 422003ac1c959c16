"""A manifest's canonical bytes, and the keys that follow from them (chapters 4 and 5a.3)."""

import json
from dataclasses import dataclass
from typing import Any

from .data import LABELS, need
from .identity import check_peer_id, verifies
from .primitives import expand, extract, mac, same, sha256

MEMBER, FETCH, SERVICE = 1, 2, 3


@dataclass(frozen=True)
class Keys:
    """What a node derives from what it knows of a swarm (5a.3)."""

    mode: int
    swarm_id: bytes
    root: bytes
    psk: bytes
    mac1_key: bytes


def canonical_json(value: Any) -> bytes:
    """Canonical form: sorted keys, no white space, ASCII, the shortest digits of each binary64."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def canonical_bytes(manifest: dict[str, Any]) -> bytes:
    """The bytes that peers hash and sign: every key but the signature; absent keys were filled in before."""
    return canonical_json({key: value for key, value in manifest.items() if key != "signature"})


def signature_verifies(manifest_bytes: bytes, creator: bytes, signature: bytes) -> bool:
    """Whether the creator signed these canonical bytes."""
    check_peer_id(creator)
    return verifies(creator, signature, manifest_bytes)


def architecture_hash(framework: str, tensors: list[tuple[str, str, list[int]]]) -> str:
    """The text of `arch_hash`, from name, dtype and shape of each tensor."""
    rows = [[name, dtype, shape] for name, dtype, shape in sorted(tensors)]
    return "sha256:" + sha256(canonical_json({"framework": framework, "tensors": rows})).hex()


def keys_of(mode: int, swarm_id: bytes, ikm: bytes) -> Keys:
    """Root key, pre-shared key and mac1 key (5a.3)."""
    root = extract(swarm_id, ikm)
    return Keys(mode, swarm_id, root, expand(root, LABELS["psk"], 32), expand(root, LABELS["mac1"], 32))


def member_keys(manifest_bytes: bytes, join_secret: bytes = b"") -> Keys:
    """For who has the manifest."""
    possession = sha256(LABELS["possession"] + b"\0" + manifest_bytes)
    return keys_of(MEMBER, sha256(manifest_bytes), possession + join_secret)


def fetch_keys(swarm_id: bytes, join_secret: bytes = b"") -> Keys:
    """For who has the swarm id alone."""
    return keys_of(FETCH, swarm_id, LABELS["fetch"] + join_secret)


def service_keys(peer: bytes) -> Keys:
    """For who has the peer id of a relay or rendezvous."""
    return keys_of(SERVICE, sha256(LABELS["service"] + peer), peer)


def mac1(mac1_key: bytes, init: bytes) -> bytes:
    """mac1 of an INIT: over all its bytes but the fields mac1 and mac2 (5.4)."""
    return mac(mac1_key, init[:21] + init[53:])[:16]


def check_mac1(mac1_key: bytes, init: bytes) -> None:
    """`E_MAC1` where the INIT's mac1 is not under this key (K-006)."""
    need(same(init[21:37], mac1(mac1_key, init)), "E_MAC1", "mac1 fits no key")


def swarm_tag(root: bytes, peer: bytes) -> bytes:
    """The tag that a peer record names its swarm by (M-003)."""
    return mac(root, b"tag" + peer)[:8]


def reset_key(seed: bytes, swarm_id: bytes) -> bytes:
    """The key of stateless reset tokens (6b.6)."""
    return mac(mac(seed, LABELS["reset"]), swarm_id)


def reset_token(key: bytes, connection_id: bytes) -> bytes:
    """The token that goes with a connection id (6b.6)."""
    return mac(key, connection_id)[:16]
