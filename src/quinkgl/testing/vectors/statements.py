"""Operations of the families of signed statements."""

from __future__ import annotations

import hashlib
import random

from quinkgl.crypto.cose import decode_sign1_untrusted, sign1
from quinkgl.crypto.identity import Identity, signature_label
from quinkgl.protocol.equivocation import read_proof_untrusted
from quinkgl.protocol.fingerprint_exchange import FingerprintExchange, FingerprintReceived, FingerprintShelf
from quinkgl.protocol.records import check_record_untrusted, expiry, issue_record
from quinkgl.protocol.update_gate import Admitted, Refusal, judge_round, read_header
from quinkgl.testing.vectors.core import DROP
from quinkgl.testing.vectors.encoding import shown
from quinkgl.testing.vectors.ours import Fields, Json, Refused, operation
from quinkgl.wire.addresses import decode_address_untrusted, encode_address
from quinkgl.wire.cbor import decode_untrusted, encode
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.fingerprint import Request, encode_fingerprint_message
from quinkgl.wire.messages.gossip import (
    Proof,
    decode_update_header_untrusted,
    encode_gossip_message,
    encode_update_header,
)

_LARGEST_ROUND = (1 << 32) - 1
_PROTECTED = bytes.fromhex("a10127")


def _signed(domain: str, envelope: bytes) -> bytes:
    opened = decode_sign1_untrusted(envelope, max_bytes=len(envelope))
    return encode(["Signature1", _PROTECTED, signature_label(domain), opened.payload])


def _payload(envelope: bytes) -> bytes:
    return decode_sign1_untrusted(envelope, max_bytes=len(envelope)).payload


def _hex(given: Fields, *names: str) -> list[bytes]:
    return [bytes.fromhex(given[name]) for name in names]


@operation("peer-record", "issue")
def issue(given: Fields) -> tuple[Fields, Fields]:
    """Issue a record."""
    identity, root = Identity.from_seed(bytes.fromhex(given["seed"])), bytes.fromhex(given["root_key"])
    found = issue_record(
        identity,
        root,
        seq=int(given["seq"]),
        addresses=tuple(decode_address_untrusted(bytes.fromhex(each)) for each in given["addresses"]),
        ttl=given["ttl"],
        unix_now=given["issued"],
    )
    mid = {
        "swarm_tag": found.record.swarm_tag,
        "period": found.record.period,
        "payload": _payload(found.encoded),
        "signed": _signed("peer-record", found.encoded),
    }
    return mid, {"record": found.encoded}


@operation("peer-record", "believe")
def believe(given: Fields) -> tuple[Fields, Fields]:
    """Judge a record and verify it."""
    envelope, root = _hex(given, "record", "root_key")
    found = check_record_untrusted(envelope, root=root, unix_now=given["unix_now"], limits=LIMITS)
    record = found.verify_untrusted().record
    return {"signed": _signed("peer-record", envelope)}, {
        "peer": record.key,
        "seq": record.seq,
        "issued": record.issued,
        "ttl": record.ttl,
        "addresses": [encode_address(address) for address in record.addresses],
        "seconds_left": int(expiry(record, LIMITS) - given["unix_now"]),
    }


def unshown(value: Json) -> Json:
    """Read back a value that was written with its type."""
    ((kind, content),) = value.items()
    match kind:
        case "int":
            return int(content)
        case "bytes":
            return bytes.fromhex(content)
        case "simple":
            return {"false": False, "true": True, "null": None}[content]
        case "array":
            return [unshown(element) for element in content]
        case "map":
            return {int(key): unshown(entry) for key, entry in content}
        case _:
            return content


@operation("update-header", "sign")
def sign_header(given: Fields) -> tuple[Fields, Fields]:
    """Encode a header and sign it."""
    read = decode_update_header_untrusted(encode(unshown(given["value"])))
    payload = encode_update_header(read)
    sealed = sign1(Identity.from_seed(bytes.fromhex(given["seed"])), "update", payload)
    return {"payload": payload, "signed": _signed("update", sealed)}, {"header": sealed}


@operation("update-header", "judge")
def judge_header(given: Fields) -> tuple[Fields, Fields]:
    """Judge the header of an offer."""
    envelope, peer, swarm, root = _hex(given, "header", "peer", "swarm_id", "root")
    found = read_header(envelope, peer=peer, swarm_id=swarm, root=root, size=given["size"])
    if isinstance(found, Refusal):
        raise Refused(found.code.name)
    value = decode_untrusted(encode_update_header(found), max_bytes=len(envelope), where="vector")
    return {"signed": _signed("update", envelope)}, {"value": shown(value), "position": found.position}


@operation("round-accept", "judge")
def judge_rounds(given: Fields) -> tuple[Fields, Fields]:
    """Judge a position, and find the least and the largest round that would have passed in its place."""
    incarnation, number = given["position"]
    last = tuple(given["last"]) if given["last"] else None
    newest = tuple(given["newest"]) if given["newest"] else None

    def verdict(round_: int) -> Refusal | None:
        return judge_round(
            (incarnation, round_),
            last=last,
            newest=None if newest is None else Admitted(newest, own_round=0, at=0.0),
            same_session=given["same_session"],
            own_round=given["own_rounds"],
            now=float(given["seconds"]),
            limits=LIMITS,
        )

    refusal = verdict(number)
    if refusal is not None:
        raise Refused(refusal.code.name)
    same = newest is not None and newest[0] == incarnation
    return {}, {
        "staleness": max(0, newest[1] - number) if newest is not None and same else 0,
        "newest": max(newest or (0, 0), (incarnation, number)),
        "least": _last_that(lambda round_: verdict(round_) is None, number, 0),
        "most": _last_that(lambda round_: verdict(round_) is None, number, _LARGEST_ROUND),
    }


def _last_that(holds: Json, start: int, end: int) -> int:
    """Return the number nearest to ``end`` that holds, on the way there from ``start``, which does."""
    if holds(end):
        return end
    while abs(end - start) > 1:
        middle = (start + end) // 2
        start, end = (middle, end) if holds(middle) else (start, middle)
    return start


@operation("equivocation", "convict")
def convict(given: Fields) -> tuple[Fields, Fields]:
    """Judge a proof and verify it."""
    first, second, swarm = _hex(given, "first", "second", "swarm_id")
    proof = Proof(first, second)
    found = read_proof_untrusted(proof, swarm)
    found.verify_untrusted()
    headers = [decode_update_header_untrusted(_payload(each)) for each in (first, second)]
    return {"roots": [header.root for header in headers]}, {
        "author": found.author,
        "position": headers[0].position,
        "message": encode_gossip_message(proof),
    }


class _Drawn(random.Random):
    """Draws the nonce of the vector."""

    nonce = b""

    def randbytes(self, n: int) -> bytes:
        """Return the nonce; it has as many bytes as are asked for, or the vector is wrong."""
        if n != len(self.nonce):
            raise ValueError(f"a nonce of {len(self.nonce)} bytes where {n} are drawn")
        return self.nonce


def _exchange(
    given: Fields, identity: Identity, remote: bytes
) -> tuple[FingerprintExchange, FingerprintShelf]:
    rng, shelf = _Drawn(), FingerprintShelf()
    rng.nonce = bytes.fromhex(given["nonce"])
    swarm = bytes.fromhex(given["swarm_id"])
    return FingerprintExchange(identity, swarm, remote, shelf, rng=rng, now=0.0), shelf


@operation("fingerprint", "answer")
def answer(given: Fields) -> tuple[Fields, Fields]:
    """Answer a request as the holder."""
    verifier, nonce, body = _hex(given, "verifier", "nonce", "body")
    exchange, shelf = _exchange(given, Identity.from_seed(bytes.fromhex(given["seed"])), verifier)
    shelf.put(body, given["epoch"])
    exchange.receive_message(encode_fingerprint_message(Request(nonce, None)), now=0.0)
    message = exchange.next_message(0.0) or b""
    sealed: bytes = decode_untrusted(message, max_bytes=len(message), where="vector")[1]
    mid = {
        "statement": _payload(sealed),
        "signed": _signed("fingerprint", sealed),
        "digest": hashlib.sha256(body).digest(),
    }
    return mid, {"answer": message}


@operation("fingerprint", "judge")
def judge_answer(given: Fields) -> tuple[Fields, Fields]:
    """Judge an answer as the verifier that asked."""
    message, holder, seed = _hex(given, "answer", "holder", "verifier_seed")
    exchange, _ = _exchange(given, Identity.from_seed(seed), holder)
    exchange.request(given["epoch"], now=0.0)
    exchange.receive_message(message, now=0.0)
    event = exchange.next_event()
    if not isinstance(event, FingerprintReceived):
        raise Refused(DROP if event is None else event.code.name)
    return {}, {"body": event.body, "epoch": event.epoch}
