"""A whole swarm member with a hostile peer: every channel, objects, commands of the application, time."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from fuzz.bench import signed
from fuzz.harness import CONNECTION_RUNS, Target
from fuzz.mutators import Choices, Step, load, mutate_cbor, pack, script_mutator, unpack
from fuzz.oracles import Finding
from fuzz.sessions import OTHERS, PEER_ADDRESS, START, Hostile, finished, install
from fuzz.targets.message_decoders import (
    exchange_messages,
    fetch_messages,
    fingerprint_messages,
    gossip_messages,
    header,
    manifest_messages,
    membership_messages,
    object_messages,
)
from fuzz.targets.wire_decoders import frame_seeds, mutate_frames
from quinkgl.crypto import cose
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.psk import Mode, derive_member_keys
from quinkgl.protocol.records import issue_record
from quinkgl.swarm import Capabilities, ExchangeOffered, PeerConnected, Swarm, SwarmConfig, UpdateReceived
from quinkgl.swarm.manifest_fetcher import ManifestFetched, ManifestFetcher, ManifestNotFetched
from quinkgl.testing.endpoints import ScriptedPeer
from quinkgl.testing.swarms import UNIX_START, small_manifest
from quinkgl.transport import leaf_hashes, merkle_root
from quinkgl.transport.handshakes import Finished
from quinkgl.wire.cbor import encode
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import LocalProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.exchange import Accept, Commit, encode_exchange_message
from quinkgl.wire.messages.exchange import Offer as ExchangeOffer
from quinkgl.wire.messages.fetch import PIECE_BYTES, FetchRefused, Get, Piece, encode_fetch_message
from quinkgl.wire.messages.gossip import encode_update_header
from quinkgl.wire.messages.manifest import Agree, Hello, encode_manifest_message
from quinkgl.wire.messages.membership import Records, encode_membership_message
from quinkgl.wire.messages.objects import Offer, encode_object_message

MESSAGE, FRAMES, UPDATE, CHUNKS, WAIT, COMMAND, ACKNOWLEDGE, AGREE, RUN, CLOCK, NAMED = range(11)
_IDENTITY = Identity.from_seed(b"\x09" * 32)
_BODIES = (b"small body", bytes(range(256)) * 70)
_ID = bytes(range(16))


@lru_cache(maxsize=1)
def _parts() -> tuple[Any, Any]:
    manifest = small_manifest()
    capabilities = Capabilities(
        manifest.model.arch_hash, manifest.task.input_shape, manifest.task.output_shape
    )
    return manifest, capabilities


def _swarm() -> Swarm:
    manifest, capabilities = _parts()
    return Swarm(
        manifest=manifest,
        identity=_IDENTITY,
        capabilities=capabilities,
        addresses=(("198.51.100.2", 4002),),
        config=SwarmConfig(max_object_bytes=50_000),
        rng=random.Random(1),
        insecure_deterministic_keys=True,
        now=START,
        unix_now=UNIX_START,
    )


@lru_cache(maxsize=4)
def _session(seed: int, *, incoming: bool, fetch: bool = False) -> tuple[Finished, ScriptedPeer]:
    """The session of a handshake, as if it had been run with the swarm's keys."""
    done, peer = finished(seed, incoming=incoming)
    keys = derive_member_keys(_parts()[0].canonical_bytes())
    mode = Mode.FETCH if fetch else keys.mode
    session = done.session._replace(swarm_id=keys.swarm_id, mode=mode)
    return done._replace(session=session), peer


@lru_cache(maxsize=1)
def _hello(*, initiator: bool) -> bytes:
    """The HELLO that this swarm agrees to."""
    from quinkgl.swarm.swarm import _terms

    manifest, capabilities = _parts()
    swarm_id = derive_member_keys(manifest.canonical_bytes()).swarm_id
    return encode_manifest_message(
        Hello(_terms(manifest, capabilities, swarm_id, 50_000), initiator=initiator)
    )


class _Run:
    """One member and its hostile peer."""

    def __init__(self, *, incoming: bool, agreed: bool, fetch: bool) -> None:
        self.swarm = _swarm()
        done, template = _session(1000, incoming=incoming or fetch, fetch=fetch)
        peer = copy.copy(template)
        peer.given, peer.received, peer.ids = [], [], [template.local_id]
        self.incoming = incoming
        install(self.swarm._endpoint, done, START)
        self.swarm.handle_timer(now=START)
        self.hostile = Hostile(self.swarm, peer)
        self.transfer = 0
        self.at: dict[int, tuple[int, int]] = {}
        if agreed and not fetch:
            self.agree()
            if not any(isinstance(event, PeerConnected) for event in self.hostile.events):
                raise Finding("HELLO and AGREE, and no peer")

    def agree(self) -> None:
        """Say HELLO and AGREE."""
        self.hostile.message(Channel.MANIFEST, _hello(initiator=self.incoming))
        self.hostile.message(Channel.MANIFEST, encode_manifest_message(Agree()))

    def step(self, code: int, payload: bytes) -> None:
        hostile, choices = self.hostile, Choices(payload)
        match code % 11:
            case 0:
                channel = choices.number() % 8
                hostile.message(channel, choices.rest())
            case 1:
                hostile.deliver(hostile.seal(payload[:1300]))
            case 2:
                self._update(choices)
            case 3:
                self._chunks(choices)
            case 4:
                hostile.wait(choices.number(2) / 64)
            case 5:
                self._command(choices)
            case 6:
                if hostile.peer.received:
                    hostile.deliver(hostile.seal(hostile.peer.acknowledge(*hostile.peer.received[-8:])))
            case 7:
                self.agree()
            case 8:
                piece = _space(choices.number())[:1000]
                data = hostile.run(choices.number(), choices.number(2), [piece, piece])
                hostile.deliver(data, segment_size=1045 + choices.number() - 128)
            case 9:
                back = choices.number()
                hostile.raw.handle_timer(now=hostile.now - back)
                hostile.settle()
            case 10:
                self._about_exchange(choices)

    def _update(self, choices: Choices) -> None:
        """Offer an object with a header that the peer, or somebody else, has signed."""
        flags, number = choices.number(), choices.number()
        body = _BODIES[number % 2]
        root = merkle_root(leaf_hashes(body))
        peer = self.hostile.peer
        payload = choices.rest()
        if not flags & 1:
            update = header(
                swarm_id=self.swarm.swarm_id,
                author=peer.peer_id,
                root=root,
                size=len(body),
                round=1 + number // 2,
            )
            payload = encode_update_header(update)
        signature = (
            cose.sign1(peer.identity, "update", payload) if not flags & 2 else signed(2, "update", payload)
        )
        inline = body if len(body) < 100 and not flags & 4 else None
        offer = Offer(self.transfer, root, len(body), signature[: LIMITS.header_bytes], inline)
        self.hostile.message(Channel.OBJECTS, encode_object_message(offer))
        self.at[self.transfer] = (number, 0)
        self.transfer += 1

    def _chunks(self, choices: Choices) -> None:
        if not self.at:
            return
        transfer = list(self.at)[choices.number() % len(self.at)]
        number, at = self.at[transfer]
        space = _space(number)
        for _ in range(1 + choices.number() % 16):
            piece = space[at : at + 1000]
            if not piece or self.hostile.is_over:
                break
            self.hostile.deliver(self.hostile.peer.bulk(transfer, at, piece))
            at += len(piece)
        self.at[transfer] = (number, at)

    def _command(self, choices: Choices) -> None:
        hostile, peer = self.hostile, self.hostile.peer.peer_id
        what, number = choices.number() % 17, choices.number()
        match what:
            case 0:
                hostile.command(
                    "publish_update", _BODIES[number % 2], round=number, sample_count=1, targets=[peer]
                )
            case 1:
                hostile.command("set_round", number)
            case 2:
                hostile.command("set_fingerprint", b"fingerprint", number)
            case 3:
                hostile.command("request_fingerprint", peer, epoch=None if number & 1 else number)
            case 4:
                hostile.command("offer_exchange", peer, _BODIES[0], weight=1 << 31, lateness=number % 3)
            case 5:
                hostile.command("set_addresses", (("198.51.100.2", 1 + number),))
            case 6:
                hostile.command("connect", OTHERS[number % 3])
            case 7 if number > 200:
                hostile.command("disconnect", peer)
            case 8:
                hostile.command("withhold_fingerprint", budget_spent=bool(number & 1))
            case 9:
                hostile.command("set_unix_time", UNIX_START + 100 * number)
            case 10:
                self.swarm.state()
            case 11:
                self.swarm.stats, self.swarm.peers(), self.swarm.has_open_transfers()
            case 12:
                hostile.command("accept_exchange", peer, self._exchange(number), _BODIES[0])
            case 13:
                hostile.command("abort_exchange", peer, self._exchange(number))
            case 14:
                hostile.command("exchange_held", peer, self._exchange(number))
            case 15:
                hostile.command("exchange_applied", peer, self._exchange(number))
            case 16:
                hostile.command("state_saved", self.swarm.exchange_mark)

    def _exchange(self, number: int) -> bytes:
        """Return the name of an exchange that was told of."""
        names = [event.exchange for event in self.hostile.events if isinstance(event, ExchangeOffered)]
        names += [view.exchange for view in self.swarm.open_exchanges()]
        return names[number % len(names)] if names else _ID

    def _about_exchange(self, choices: Choices) -> None:
        """A message about an exchange that there is."""
        number = choices.number()
        payload = choices.rest()
        try:
            value = load(payload)
            value[1] = self._exchange(number)
            payload = encode(value)
        except (ValueError, TypeError, IndexError, LocalProtocolError):
            pass
        self.hostile.message(Channel.EXCHANGE, payload)


def _space(number: int) -> bytes:
    body = _BODIES[number % 2]
    leaves = leaf_hashes(body)
    return (b"".join(leaves) if len(leaves) > 1 else b"") + body


def run(data: bytes) -> None:
    """Run a script; the last byte says who opened the session, why, and whether the manifest is agreed."""
    last = data[-1] if data else 0
    script = _Run(incoming=not last & 1, agreed=not last & 2, fetch=last & 12 == 12)
    for code, payload in unpack(data, most=10):
        script.step(code, payload)
        if script.hostile.is_over:
            break
    peer = script.hostile.peer.peer_id
    for event in script.hostile.events:
        if isinstance(event, UpdateReceived) and (event.peer != peer or bytes(event.body) not in _BODIES):
            raise Finding(f"an update of {event.peer.hex()}")
    script.hostile.command("close")
    script.hostile.wait(30.0)
    if not script.swarm.drained:
        raise Finding("a swarm that was closed does not drain")


@lru_cache(maxsize=1)
def pool() -> Sequence[Step]:
    """Steps that mean something."""
    families = {
        Channel.OBJECTS: object_messages(),
        Channel.MANIFEST: [*manifest_messages(), *fetch_messages()],
        Channel.MEMBERSHIP: [*membership_messages(), _records()],
        Channel.GOSSIP: gossip_messages(),
        Channel.FINGERPRINT: fingerprint_messages(),
        Channel.EXCHANGE: [*exchange_messages(), *_exchanges()],
    }
    steps: list[Step] = [
        (MESSAGE, bytes([channel]) + body) for channel, bodies in families.items() for body in bodies
    ]
    steps += [(FRAMES, frame) for frame in frame_seeds()]
    steps += [(UPDATE, bytes([flags, number])) for flags in (0, 2, 4) for number in range(4)]
    steps += [(UPDATE, b"\1\0" + encode_update_header(header()))]
    steps += [(CHUNKS, b"\0\x0f")] * 3 + [(CHUNKS, b"\1\3")]
    steps += [(COMMAND, bytes([what, number])) for what in range(17) for number in (1, 2)]
    steps += [(NAMED, b"\0" + body) for body in (*exchange_messages(), *_exchanges())]
    steps += [
        (WAIT, b"\0\2"),
        (WAIT, b"\0\x40"),
        (WAIT, b"\2\0"),
        (WAIT, b"\x10\0"),
        (ACKNOWLEDGE, b""),
        (ACKNOWLEDGE, b""),
    ]
    steps += [(AGREE, b""), (RUN, b"\1\0\0\0\x80"), (CLOCK, b"\x09")]
    return steps


def _records() -> bytes:
    keys = derive_member_keys(_parts()[0].canonical_bytes())
    issued = issue_record(
        Identity.from_seed(b"\x0a" * 32),
        keys.root,
        seq=1,
        addresses=(OTHERS[1],),
        ttl=7200,
        unix_now=UNIX_START,
    )
    return encode_membership_message(Records((issued.encoded,)))


def _exchanges() -> list[bytes]:
    root = merkle_root(leaf_hashes(_BODIES[0]))
    return [
        encode_exchange_message(message)
        for message in (
            ExchangeOffer(_ID, root, len(_BODIES[0]), 1 << 31, 0, 1),
            Accept(_ID, _ID[::-1], root, len(_BODIES[0])),
            Commit(_ID, _ID[::-1]),
        )
    ]


def seeds() -> list[bytes]:
    """An update each way, records, a fingerprint, an exchange, and every message once."""
    known = list(pool())
    messages = [step for step in known if step[0] == MESSAGE]
    named = [(NAMED, b"\0" + body) for body in _exchanges()]
    get = (MESSAGE, bytes([Channel.MANIFEST]) + encode_fetch_message(Get(_swarm().swarm_id, 0)))
    return [
        pack(
            [
                named[0],
                (COMMAND, b"\x0c\0"),
                (UPDATE, b"\4\0"),
                (CHUNKS, b"\0\2"),
                (COMMAND, b"\x0e\0"),
                (COMMAND, b"\x10\0"),
                (NAMED, b"\0" + _exchanges()[2]),
                (COMMAND, b"\x0f\0\0"),
            ]
        ),
        pack([(COMMAND, b"\4\1"), named[1], (ACKNOWLEDGE, b""), (COMMAND, b"\x0d\0\0")]),
        pack([get, get, (WAIT, b"\2\0\x0c")]),
        pack([(FRAMES, b"\1"), (MESSAGE, bytes([Channel.GOSSIP]) + b"\xa0"), (WAIT, b"\2\0\x0c")]),
        pack([(UPDATE, b"\0\0"), (WAIT, b"\0\x40"), (ACKNOWLEDGE, b"\0")]),
        pack(
            [
                (UPDATE, b"\0\1"),
                (CHUNKS, b"\0\x0f"),
                (CHUNKS, b"\0\x0f"),
                (WAIT, b"\0\x40"),
                (ACKNOWLEDGE, b"\4"),
            ]
        ),
        pack([(COMMAND, b"\0\1"), (ACKNOWLEDGE, b""), (WAIT, b"\2\0"), (COMMAND, b"\1\2\0")]),
        pack([(COMMAND, b"\2\1"), messages[12], (COMMAND, b"\3\1"), (WAIT, b"\x10\0\0")]),
        pack([(AGREE, b""), (WAIT, b"\0\x40"), (COMMAND, b"\4\1\2")]),
        *(pack([step, (WAIT, b"\0\x40\0")]) for step in messages),
    ]


def _payload(code: int, body: bytes, rng: random.Random) -> bytes:
    match code % 11:
        case 0 | 10:
            return body[:1] + mutate_cbor(body[1:], rng)
        case 1:
            return mutate_frames(body, rng)
        case 2:
            return (
                body[:2] + mutate_cbor(body[2:], rng)
                if len(body) > 2
                else bytes(rng.randrange(8) for _ in body)
            )
    return bytes(rng.randrange(256) if rng.random() < 0.3 else value for value in body)


# --- one who has the swarm's id alone ---

PIECE, ANY, SEALED, LATER = range(4)


def run_fetcher(data: bytes) -> None:
    """Whatever a member answers, only the manifest of the swarm comes out, and there is an end."""
    manifest = _parts()[0].canonical_bytes()
    swarm_id = hashlib.sha256(manifest).digest()
    fetcher = ManifestFetcher(
        swarm_id=swarm_id,
        peers=[(PEER_ADDRESS, None), (OTHERS[0], None)],
        identity=_IDENTITY,
        rng=random.Random(1),
        insecure_deterministic_keys=True,
        now=START,
    )
    done, template = _session(1000, incoming=False, fetch=True)
    peer = copy.copy(template)
    peer.given, peer.received, peer.ids = [], [], [template.local_id]
    fetcher.next_datagram(START)
    install(fetcher._endpoint, done, START)
    fetcher.handle_timer(now=START)
    hostile = Hostile(fetcher, peer)
    at = 0
    for code, payload in unpack(data, most=10):
        choices = Choices(payload)
        match code % 4:
            case 0:
                flags, shift = choices.number(), choices.number(2)
                body = manifest[at : at + PIECE_BYTES] if not flags & 1 else bytes(PIECE_BYTES)
                total = len(manifest) + (shift if flags & 2 else 0)
                offset = at + (shift if flags & 4 else 0)
                signature = bytes(64) if flags & 8 and not offset else None
                try:
                    message = encode_fetch_message(
                        Piece(offset, total, body[: len(body) - (flags >> 7)], signature)
                    )
                except LocalProtocolError:
                    continue
                hostile.message(Channel.MANIFEST, message)
                at += len(body)
            case 1:
                hostile.message(choices.number() % 8, choices.rest())
            case 2:
                hostile.deliver(hostile.seal(payload[:1300]))
            case 3:
                hostile.wait(choices.number(2) / 16)
    hostile.wait(200.0)
    fetched = [event for event in hostile.events if isinstance(event, ManifestFetched)]
    failed = [event for event in hostile.events if isinstance(event, ManifestNotFetched)]
    if any(hashlib.sha256(event.manifest).digest() != swarm_id for event in fetched):
        raise Finding("another manifest than was asked for")
    if len(fetched) + len(failed) != 1 or not fetcher.drained:
        raise Finding(f"the end of fetching: {hostile.events}")


def fetcher_pool() -> Sequence[Step]:
    """Steps that mean something."""
    steps: list[Step] = [(PIECE, bytes([flags, 0, 9])) for flags in (0, 0, 0, 1, 2, 4, 8, 0x80)]
    refused = encode_fetch_message(FetchRefused(0x31, "not here"))
    steps += [
        (ANY, bytes([channel]) + body) for channel in (1, 2, 0) for body in (refused, b"\xa1\0\x18\x40")
    ]
    steps += [(ANY, b"\1" + body) for body in fetch_messages()]
    steps += [(ANY, b"\0" + body) for body in object_messages()]
    steps += [(SEALED, frame) for frame in frame_seeds()] + [(LATER, b"\0\x10"), (LATER, b"\xff\xff")]
    return steps


def fetcher_seeds() -> list[bytes]:
    """The whole manifest, with a wrong piece, a refusal, silence."""
    return [
        pack([(PIECE, b"\0\0\0")] * 4),
        pack([(PIECE, b"\0\0\0"), (PIECE, b"\1\0\0"), (PIECE, b"\0\0\0")]),
        *(pack([step]) for step in fetcher_pool()),
    ]


TARGETS = (
    Target(
        name="fetcher",
        about="one who has the swarm's id alone, and a hostile member",
        run=run_fetcher,
        seeds=fetcher_seeds,
        mutate=script_mutator(4, pool=fetcher_pool),
        max_bytes=2048,
        wanted=CONNECTION_RUNS,
        kept=20,
        short_runs=400,
    ),
    Target(
        name="swarm",
        about="a whole swarm member with a hostile peer",
        run=run,
        seeds=seeds,
        mutate=script_mutator(11, pool=pool, payload=_payload),
        max_bytes=4096,
        wanted=CONNECTION_RUNS,
        kept=30,
        short_runs=300,
    ),
)
