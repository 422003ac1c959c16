"""A manifest's canonical bytes, and the keys that follow from them (chapters 4 and 5a.3)."""

import json
import re
from dataclasses import dataclass
from typing import Any

from .data import LABELS, SpecError, need
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


DEFAULTS: dict[str, Any] = {
    "description": "",
    "expires_at": None,
    "round_limit": None,
    "creator_pubkey": None,
    "bootstrap_peers": [],
    "tracker_urls": [],
    "byzantine": {"enforce_n_gt_2f_plus_2": False, "f": 0},
    "telemetry": {"dashboard_url": "", "enrollment": "none"},
}
ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def canonical_json(value: Any) -> bytes:
    """Canonical form of a JSON value."""
    return _text(value).encode("ascii")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(_string(key) + ":" + _text(value[key]) for key in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, float):
        return _number(value)
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or isinstance(value, bool)
        else str(value)
    )


def _string(text: str) -> str:
    def escaped(found: re.Match[str]) -> str:
        if found[0] in ESCAPES:
            return ESCAPES[found[0]]
        units = found[0].encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

    return '"' + re.sub(r"[^ !#-\[\]-~]", escaped, text) + '"'


def _number(value: float) -> str:
    """Rule 4: the fewest digits that read back, and where the point stands."""
    if value == 0:
        return f"{value:.1f}"
    shortest = next(text for digits in range(17) if float(text := f"{value:.{digits}e}") == value)
    mantissa, _, exponent = shortest.lstrip("-").partition("e")
    digits, e = mantissa.replace(".", ""), int(exponent) + 1
    if -4 < e <= 16:
        padded = digits.rjust(len(digits) - min(e - 1, 0), "0").ljust(e + 1, "0")
        point = max(e, 1)
        return "-" * (value < 0) + padded[:point] + "." + padded[point:]
    fraction = "." + digits[1:] if len(digits) > 1 else ""
    return "-" * (value < 0) + f"{digits[0]}{fraction}e{e - 1:+03d}"


def canonical_bytes(manifest: dict[str, Any]) -> bytes:
    """The bytes that peers hash and sign: every key but the signature, absent ones by their defaults."""
    whole = DEFAULTS | manifest
    whole.pop("signature", None)
    return canonical_json(whole)


def read_json(text: bytes) -> dict[str, Any]:
    """A manifest's JSON object; a key that occurs twice, NaN and infinity are no JSON here."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len(dict(pairs)) == len(pairs), "E_SCHEMA", "a key that occurs twice")
        return dict(pairs)

    def never(name: str) -> float:
        raise SpecError("E_SCHEMA", f"{name} is no number")

    value = json.loads(text.decode(), object_pairs_hook=once, parse_constant=never)
    need(isinstance(value, dict), "E_SCHEMA", "not an object")
    return dict(value)


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
