"""Signed statements: peer records, update headers, fingerprints (chapters 10 to 12)."""

from typing import Any

from .data import CONSTANTS, LIMITS, SpecError, need
from .identity import check_peer_id, decode_envelope, sig_structure, sign_envelope, verifies
from .manifest import swarm_tag
from .messages import MAX_BYTES, decode_map, encode_map
from .primitives import same, sha256

SIGNER = {"peer-record": "peer", "update": "author", "fingerprint": "holder"}
LARGEST = {"peer-record": LIMITS["record_bytes"], "update": LIMITS["header_bytes"], "fingerprint": 268}


def sign_statement(seed: bytes, domain: str, fields: dict[str, Any]) -> bytes:
    """The envelope of a statement; its domain is the schema's name as well."""
    return sign_envelope(seed, domain, encode_map(domain, fields))


def read_statement(domain: str, envelope: bytes) -> dict[str, Any]:
    """The fields of a statement whose signature is not verified yet, but whose signer may sign."""
    payload, _ = decode_envelope(envelope, LARGEST[domain])
    fields = decode_map(domain, payload, MAX_BYTES.get(f"{domain}-statement"))
    check_peer_id(fields[SIGNER[domain]])
    return fields


def is_signed(domain: str, envelope: bytes) -> bool:
    """Whether the signature is the one of the peer that the statement names (I-012, I-014)."""
    payload, signature = decode_envelope(envelope, LARGEST[domain])
    return verifies(decode_map(domain, payload)[SIGNER[domain]], signature, sig_structure(domain, payload))


def believe_record(envelope: bytes, root_key: bytes, now: float) -> dict[str, Any]:
    """The fields of a peer record that 10.4 lets a receiver believe."""
    fields = read_statement("peer-record", envelope)
    tag = swarm_tag(root_key, fields["peer"])
    need(same(tag, fields["swarm_tag"]), "E_REC_SCOPE", "the tag of another swarm (M-010)")
    need(
        fields["period"] == fields["issued"] // CONSTANTS["record_period_s"],
        "E_SCHEMA",
        "a wrong period (M-004)",
    )
    end = fields["issued"] + min(fields["ttl"], LIMITS["record_ttl_s"])
    need(now < end, "E_REC_EXPIRED", "a record that has ended (M-012)")
    need(fields["issued"] <= now + LIMITS["clock_skew_s"], "E_REC_EXPIRED", "a record of the future (M-013)")
    need(is_signed("peer-record", envelope), "E_REC_SIG", "a wrong signature (M-011)")
    return fields


def judge_header(envelope: bytes, swarm_id: bytes, peer: bytes, root: bytes, size: int) -> dict[str, Any]:
    """The fields of an update header that passes G-010 to G-014, in this order; else `E_UPD_HEADER`."""
    try:
        fields = read_statement("update", envelope)
    except SpecError as error:
        raise SpecError("E_UPD_HEADER", error.why) from error
    parts = [(fields["root"], fields["size"])] + [(part[0], part[1]) for part in fields.get("objects", [])]
    need(len({part[0] for part in parts}) == len(parts), "E_UPD_HEADER", "two parts of one root (G-043)")
    need(fields["swarm_id"] == swarm_id, "E_UPD_HEADER", "another swarm (G-011)")
    need(fields["author"] == peer, "E_UPD_HEADER", "another author than the peer that offers (G-012)")
    need((root, size) in parts, "E_UPD_HEADER", "no part has this root and size (G-013)")
    need(is_signed("update", envelope), "E_UPD_HEADER", "a wrong signature (G-014)")
    return fields


def convicted_by(first: bytes, second: bytes, swarm_id: bytes) -> bytes:
    """The author that a PROOF convicts (G-034); `E_PROTOCOL` for one that convicts nobody."""
    try:
        one, two = read_statement("update", first), read_statement("update", second)
    except SpecError as error:
        raise SpecError("E_PROTOCOL", error.why) from error
    alike = [one[key] == two[key] for key in ("author", "incarnation", "round")]
    need(
        one["swarm_id"] == two["swarm_id"] == swarm_id and all(alike),
        "E_PROTOCOL",
        "not one position of one author",
    )
    need(one["root"] != two["root"], "E_PROTOCOL", "two headers of one root")
    need(is_signed("update", first) and is_signed("update", second), "E_PROTOCOL", "a wrong signature")
    return bytes(one["author"])


def judge_answer(fields: dict[str, Any], body: bytes, envelope: bytes, expected: dict[str, Any]) -> None:
    """`E_FP_BINDING` unless an answer is bound to what was asked (N-020); the epoch may be left out."""
    for key, value in expected.items():
        need(fields[key] == value, "E_FP_BINDING", f"another {key}")
    need(fields["digest"] == sha256(body), "E_FP_BINDING", "a digest that is not the body's")
    need(is_signed("fingerprint", envelope), "E_FP_BINDING", "a wrong signature")


def round_verdict(position: tuple[int, int], memory: dict[str, Any]) -> str:
    """What the rules on rounds (G-020 to G-022) say of a header: a code, or "accepted".

    `memory` holds `last` and `newest` (positions or None), `own_rounds` and `seconds` since newest came, and
    whether it came in `this_session`.
    """
    last, newest = memory["last"], memory["newest"]
    if (last is not None and position <= last) or (newest is not None and position[0] < newest[0]):
        return "E_RND_REPLAY"
    if newest is None or position[0] != newest[0]:
        return "accepted"
    if newest[1] - position[1] > LIMITS["round_stale"]:
        return "E_RND_STALE"
    window = LIMITS["round_ahead"] * (1 + memory["own_rounds"] + memory["seconds"])
    if memory["this_session"] and position[1] - newest[1] > window:
        return "E_RND_AHEAD"
    return "accepted"


def fingerprint_of(bound: dict[str, Any], epoch: int, body: bytes) -> dict[str, Any]:
    """A holder's statement of its body; `bound` names swarm, holder, verifier and nonce."""
    return bound | {"epoch": epoch, "digest": sha256(body)}
