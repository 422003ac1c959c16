"""States of earlier lives, as a checkpoint gives them: a machine takes what it once gave, or refuses it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

import cbor2

from fuzz.bench import IDENTITIES, US, peer, signed
from fuzz.harness import Target
from fuzz.mutators import Raw, mutate_bytes, mutate_value
from fuzz.oracles import Bound, Finding, metered
from fuzz.targets.message_decoders import HASH, ID16, OTHER_HASH, header
from quinkgl.crypto.psk import derive_member_keys
from quinkgl.protocol.exchange import Exchanges
from quinkgl.protocol.exchange_record import Record, Side, save
from quinkgl.protocol.exchange_table import Answering, Initiating
from quinkgl.protocol.fingerprint_exchange import FingerprintShelf
from quinkgl.protocol.gossip import Gossip
from quinkgl.protocol.membership import Membership
from quinkgl.protocol.records import issue_record
from quinkgl.wire.errors import LocalProtocolError
from quinkgl.wire.messages.gossip import encode_update_header

_BOUND = Bound(calls=3000, calls_per_byte=60, memory=200_000, memory_per_byte=400)
_KEYS = derive_member_keys(b"fuzzed")
_UNIX = 1_800_000_000.0


def _gossip() -> Gossip:
    return Gossip(US, HASH, rng=random.Random(1), now=0.0, unix_now=_UNIX)


def _membership() -> Membership:
    return Membership(US, _KEYS, rng=random.Random(1), now=0.0, unix_now=_UNIX)


def _exchanges() -> Exchanges:
    return Exchanges(US.peer_id, rng=random.Random(1), now=0.0)


def _is_taken(restore: Callable[..., None], state: Any, **options: float) -> bool:
    try:
        metered(_BOUND, 2000, restore, state, **options)
    except LocalProtocolError:
        return False
    return True


def _restore_shelf(state: Any) -> Any:
    shelf = FingerprintShelf()
    return shelf.state() if _is_taken(shelf.restore, state) else None


def _restore(make: Callable[[], Any]) -> Callable[[Any], Any]:
    def restore(state: Any) -> Any:
        machine = make()
        if not _is_taken(machine.restore, state, now=1.0):
            return None
        for _ in range(1000):
            if machine.next_event() is None:
                break
        machine.peer_connected(peer(0), now=2.0)
        for _ in range(1000):
            if machine.next_message(2.0) is None:
                break
        machine.handle_timer(now=100.0)
        return machine.state()

    return restore


_KINDS = (_restore(_gossip), _restore(_membership), _restore(_exchanges), _restore_shelf)


def run(data: bytes) -> None:
    """The first byte says whose state the CBOR behind it is; only a LocalProtocolError may come of it."""
    restore = _KINDS[data[0] % 4 if data else 0]
    stream = BytesIO(data[1:])
    try:
        state = cbor2.load(stream)
    except (cbor2.CBORDecodeError, ValueError, TypeError):
        return
    if not isinstance(state, dict):
        return
    saved = restore(state)
    if saved is not None and restore(saved) is None:
        raise Finding(f"what was taken up is not taken up again: {saved}")


def seeds() -> Iterable[bytes]:
    """States with everything in them."""
    first, second = (
        signed(1, "update", encode_update_header(header(root=root))) for root in (HASH, OTHER_HASH)
    )
    gossip = {
        "incarnation": 7,
        "authors": [[peer(0), 5, 3], [peer(1), 5, 9]],
        "seen": [HASH, OTHER_HASH],
        "barred": [[peer(2)], [IDENTITIES[1].peer_id, first, second]],
    }
    record = issue_record(
        IDENTITIES[1], _KEYS.root, seq=1, addresses=(("192.0.2.1", 4000),), ttl=7200, unix_now=_UNIX
    )
    membership = {"seq": 9, "records": [record.encoded]}
    open_exchanges = [
        save(
            Record(
                peer(number), ID16, 1 << 20, 1, 1, 2, state, 0.0, ID16,
                Side(HASH, 8, {1: 2}), Side(OTHER_HASH, 9, {}),
            )
        )
        for number, state in enumerate((Initiating.DECIDED, Answering.DECIDED, Initiating.APPLIED))
    ]  # fmt: skip
    exchanges = {"open": [item for item in open_exchanges if item is not None]}
    for kind, state in enumerate((gossip, membership, exchanges, {"epoch": 3, "digest": HASH})):
        yield bytes([kind]) + cbor2.dumps(state)
    yield b"\2" + cbor2.dumps({"open": []})


def _plain(value: Any) -> Any:
    """Replace what only the wire's profile needs."""
    if isinstance(value, Raw):
        return 1.5
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a node of the state."""
    try:
        state = cbor2.loads(data[1:])
    except (cbor2.CBORDecodeError, ValueError, TypeError):
        return mutate_bytes(data, rng)
    for _ in range(rng.choice((1, 1, 2))):
        state = _plain(mutate_value(state, rng))
    try:
        return data[:1] + cbor2.dumps(state)
    except (cbor2.CBOREncodeError, ValueError, TypeError):
        return mutate_bytes(data, rng)


TARGETS = (
    Target(
        name="saved_state",
        about="states of earlier lives, of each machine that has one",
        run=run,
        seeds=seeds,
        mutate=mutate,
        max_bytes=1280,
        short_runs=6_000,
    ),
)
