"""One object across one bad path, drawn from a seed: what the transport must bear, and what was seen of it.

:meth:`Trial.of` draws a path (loss, bursts, reordering, duplication, corruption, delay, a rate, an MTU that
changes, an address translator, blackouts), the size of an object and the configuration of both ends;
:func:`run_trial` lets the object cross and tells how long it took and what happened on the way: key changes,
cookies, version negotiation, path MTU changes, the post-quantum secret. One seed gives one run.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from quinkgl.testing.endpoints import A, B, Pair, events_of
from quinkgl.testing.network import Blackouts, Bursts, Link
from quinkgl.transport import (
    ConnectFailed,
    ConnectionConfig,
    ConnectionEstablished,
    ConnectionLost,
    EndpointConfig,
    KeyLimits,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    PostQuantum,
    leaf_hashes,
    merkle_root,
)
from quinkgl.wire.addresses import Address
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.key_log import parse_key_log
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import BULK_OVERHEAD_BYTES, PacketForm, packet_form

SMALL_BYTES = 256 * 1024
LARGE_BYTES = 2_000_000
_LARGE_EVERY = 5
"""One trial of so many moves a large object."""
_PERIOD_S = 5.0
"""Addresses change and blackouts come so often."""
_LEAST_LIGHT = 0.1
_LONGEST_MOVING_DARK_S = 0.1
_USED_SIZE = 5
"""A datagram size that bulk packets had at least so often is one that the sender had settled on."""


class Feature(Enum):
    """What a trial can make happen besides the transfer."""

    KEY_CHANGE = "key change"
    COOKIE = "cookie"
    VERSION_NEGOTIATION = "version negotiation"
    MTU_CHANGE = "path MTU change"
    POST_QUANTUM = "post-quantum secret"
    REBINDING = "rebinding"


@dataclass(frozen=True)
class Trial:
    """A path, an object and two configurations."""

    seed: int
    link: Link
    size: int
    rebinds: bool
    config_a: EndpointConfig
    config_b: EndpointConfig

    @classmethod
    def of(cls, seed: int, *, beyond: bool = False) -> Trial:
        """Draw a trial; ``beyond`` draws losses of 20 to 40 %, without blackouts."""
        rng = random.Random(f"trial {seed} {beyond}")  # noqa: S311 - a simulation
        draws = [rng.random() for _ in range(6)]
        keys = KeyLimits(
            phase_packets=rng.choice([30, 60, 120]) if draws[0] < 0.5 else 1 << 22,
            ratchet_s=rng.choice([1.0, 5.0]) if draws[1] < 0.3 else 3600.0,
        )
        config = EndpointConfig(
            connection=ConnectionConfig(keys=keys),
            post_quantum=PostQuantum.OFFERED if draws[2] < 0.8 else PostQuantum.NO,
        )
        link = _beyond(rng) if beyond else _link(rng)
        # A move takes three round trips: on a long path that is dark half of the time hardly one succeeds.
        bears_moves = not beyond and (link.blackouts is None or link.delay_s <= _LONGEST_MOVING_DARK_S)
        return cls(
            seed=seed,
            link=link,
            size=(LARGE_BYTES if seed % _LARGE_EVERY == 0 and not beyond else SMALL_BYTES)
            + rng.randrange(60_000),
            rebinds=bears_moves and draws[3] < 0.3,
            config_a=replace(config, versions=(7, 1) if draws[4] < 0.3 else (1,)),
            config_b=replace(
                config, init_rate_total_per_s=0 if draws[5] < 0.3 else LIMITS.init_rate_total_per_s
            ),
        )

    @property
    def limit_s(self) -> float:
        """The virtual time within which the object must be there and acknowledged.

        A loss-based sender needs, for each packet, the time of Padhye, Firoiu, Towsley and Kurose ("Modeling
        TCP throughput", SIGCOMM 1998, equation 30) for loss p, round trip R, time-out T and b = 2 packets an
        ACK:

            R·√(2bp/3) + T·min(1, 3·√(3bp/8))·p·(1 + 32p²)

        A packet that is corrupted, overtaken by three others, in a burst, or on its way when the address
        changes counts as lost. Two and a half times the mean, since one object is a short sample of a long
        average; and 100 s for handshakes that begin anew, and ten round trips for slow start.

        A path that is dark for D of every P seconds moves at that pace for the rest alone; so does one whose
        end moves to another address, which takes 3R until it is proved. And each darkness ends in a time-out
        and the smallest window, two packets: on a long path there is hardly time for more before the next,
        and a packet and its ACK both meet light in (P - D - R) / P of all cases. So such a path may take 3R
        for every two packets, divided by that share.
        """
        link = self.link
        lost = 1 - (1 - link.loss) * (1 - link.corrupt)
        if link.bursts is not None:
            bad = link.bursts.enter / (link.bursts.enter + link.bursts.leave)
            lost = 1 - (1 - lost) * (1 - bad * link.bursts.loss)
        lost = max(lost, 0.05 if link.jitter_s else 1e-4, 0.02 if self.rebinds else 0.0)
        round_trip = 2 * link.delay_s + link.jitter_s
        time_out = 2 * round_trip + 4 * link.jitter_s + 2 * LIMITS.max_ack_delay_s
        packets = self.size / (LIMITS.init_min_datagram_bytes - BULK_OVERHEAD_BYTES)
        acked = 2
        waits = min(1.0, 3 * math.sqrt(3 * acked * lost / 8)) * lost * (1 + 32 * lost**2)
        per_packet = round_trip * math.sqrt(2 * acked * lost / 3) + time_out * waits
        line = 0.0 if link.rate is None else self.size / link.rate
        moving = line + packets * per_packet
        if link.blackouts is not None or self.rebinds:
            dark = 0.0 if link.blackouts is None else link.blackouts.dark_s
            light = _PERIOD_S - dark - (3 * round_trip if self.rebinds else 0.0)
            moving /= max(_LEAST_LIGHT, light / _PERIOD_S)
            moving += packets / 2 * 3 * round_trip / max(_LEAST_LIGHT, (light - round_trip) / _PERIOD_S)
        return 100.0 + 2.5 * moving + 10 * round_trip


def _link(rng: random.Random) -> Link:
    delay_s = rng.choice([0.0005, 0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.375])
    changes: tuple[tuple[float, int], ...] = ()
    mtu = rng.choice([None, None, 1200, 1280, 1452, 1452, 9000])
    if mtu is not None and rng.random() < 0.5:
        changes = ((round(rng.uniform(0.5, 10.0), 3), rng.choice([1200, 1252, 1400])),)
    return Link(
        delay_s=delay_s,
        jitter_s=delay_s * rng.choice([0.0, 0.0, 0.1, 0.5, 1.0]),
        loss=rng.choice([0.0, 0.001, 0.01, 0.03, 0.05, 0.1, 0.2]),
        duplicate=rng.choice([0.0, 0.0, 0.01, 0.1]),
        corrupt=rng.choice([0.0, 0.0, 0.01, 0.05]),
        rate=rng.choice([None, None, 1.25e6]),
        mtu=mtu,
        mtu_changes=changes,
        bursts=rng.choice(
            [None, None, Bursts(enter=0.005, leave=0.2), Bursts(enter=0.01, leave=0.5, loss=0.8)]
        ),
        blackouts=Blackouts(period_s=_PERIOD_S, dark_s=2.0) if rng.random() < 0.2 else None,
    )


def _beyond(rng: random.Random) -> Link:
    delay_s = rng.choice([0.001, 0.005, 0.02, 0.05, 0.1, 0.25])
    return Link(
        delay_s=delay_s,
        jitter_s=delay_s * rng.choice([0.0, 0.1, 0.5]),
        loss=rng.uniform(0.2, 0.4),
        duplicate=rng.choice([0.0, 0.01]),
        rate=rng.choice([None, 1.25e6]),
    )


@dataclass
class Outcome:
    """What a trial came to. Times are virtual seconds."""

    seed: int
    completed: bool
    seconds: float
    limit_s: float
    features: list[Feature]
    lost: list[str] = field(default_factory=list)
    """Sessions that ended by themselves: code, and how long the side that gave up had heard nothing."""
    wrong: list[str] = field(default_factory=list)
    """What must not happen: another body, a session that ended though its path was not dead."""


class _Ear:
    """A machine that remembers when it was last reached."""

    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self.heard_at = 0.0

    def receive_datagram(self, data: bytes, source: Address, *, now: float, **more: Any) -> None:
        self.heard_at = now
        self._machine.receive_datagram(data, source, now=now, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)


class _Crossing:
    """The run of one trial."""

    def __init__(self, trial: Trial, *, patience: float) -> None:
        self.trial = trial
        self.keys: list[str] = []
        self.sizes: Counter[int] = Counter()
        self.addresses: set[Address] = set()
        self.outcome = Outcome(
            trial.seed, completed=False, seconds=0.0, limit_s=patience * trial.limit_s, features=[]
        )
        config_a = replace(trial.config_a, keylog=self.keys.append)
        self.pair = Pair(trial.seed, trial.link, config_a=config_a, config_b=trial.config_b)
        self.a, self.b = self.pair.a, self.pair.b
        self.a.machine, self.b.machine = _Ear(self.a.machine), _Ear(self.b.machine)
        self.pair.network.tap = self._tap
        if trial.rebinds:
            self.pair.network.translate(A, every_s=_PERIOD_S)
        self.body = random.Random(trial.seed).randbytes(trial.size)  # noqa: S311 - a simulation
        self.leaves = leaf_hashes(self.body)
        self.a.on_event, self.b.on_event = self._drive_a, self._drive_b

    def run(self) -> Outcome:
        """Let the object cross, and say what happened."""
        pair, outcome = self.pair, self.outcome
        self.a.machine.connect(B, now=0.0)
        try:
            outcome.completed = pair.run(lambda: bool(events_of(self.a, ObjectSent)), limit_s=outcome.limit_s)
        except AssertionError as error:  # the machine contract, or a deadline in the past
            outcome.wrong.append(repr(error))
        outcome.seconds = pair.now
        arrived = events_of(self.b, ObjectArrived)
        if outcome.completed and not arrived:
            outcome.wrong.append("acknowledged, and never arrived")
        outcome.wrong += ["another body" for event in arrived if bytes(event.body) != self.body]
        outcome.features = [feature for feature in Feature if self._saw(feature)]
        return outcome

    def _saw(self, feature: Feature) -> bool:
        stats = self.a.machine.stats
        mixed = self.trial.config_a.post_quantum is not PostQuantum.NO
        phases = self._phases()
        match feature:
            case Feature.KEY_CHANGE:
                return max(phases, default=0) > mixed
            case Feature.COOKIE:
                return stats.cookies_received > 0 and bool(phases)
            case Feature.VERSION_NEGOTIATION:
                return stats.version_negotiations_received > 0 and bool(phases)
            case Feature.MTU_CHANGE:
                return sum(count >= _USED_SIZE for count in self.sizes.values()) > 1
            case Feature.POST_QUANTUM:
                return mixed and min(phases, default=0) >= 1
            case Feature.REBINDING:
                return len(self.addresses) > 1

    def _phases(self) -> list[int]:
        """How often each direction of the last session changed its key."""
        entries = [entry for line in self.keys if (entry := parse_key_log(line)) is not None]
        if not entries:
            return []
        last = [entry for entry in entries if entry.handshake_hash == entries[-1].handshake_hash]
        names = dict.fromkeys(entry.destination_id for entry in last)
        return [max(entry.phase for entry in last if entry.destination_id == name) for name in names]

    def _tap(self, _now: float, source: Address, destination: Address, data: bytes) -> None:
        if destination == B:
            self.addresses.add(source)
            if packet_form(data) is PacketForm.BULK and len(data) >= LIMITS.init_min_datagram_bytes:
                self.sizes[len(data)] += 1

    def _drive_a(self, event: Any) -> None:
        """Offer the object on each session; open another when an attempt or a session came to nothing."""
        pair = self.pair
        if isinstance(event, ConnectionEstablished):
            root = merkle_root(self.leaves)
            leaves = b"".join(self.leaves)
            self.a.machine.offer_object(pair.id_b, root, leaves, b"", memoryview(self.body), now=pair.now)
        elif isinstance(event, (ConnectFailed, ConnectionLost)):
            if isinstance(event, ConnectionLost):
                self._judge_end(event, self.a.machine.heard_at, "A")
            self.a.machine.connect(B, now=pair.now)

    def _drive_b(self, event: Any) -> None:
        if isinstance(event, OfferReceived):
            self.b.machine.accept_object(event.peer, event.transfer, now=self.pair.now)
        elif isinstance(event, ConnectionLost):
            self._judge_end(event, self.b.machine.heard_at, "B")

    def _judge_end(self, event: ConnectionLost, heard_at: float, side: str) -> None:
        """A session may end because its path is dead, or because the peer has a newer one; nothing else.

        The side that opened it is judged: the other may hold a session for a while that nobody is at.
        """
        silence = self.pair.now - heard_at
        code = ErrorCode(event.code)
        self.outcome.lost.append(f"{side} {code.name} at {self.pair.now:.1f} s, silent for {silence:.1f} s")
        known = {ErrorCode.E_HS_TIMEOUT, ErrorCode.E_HS_DUP, ErrorCode.E_RESET}
        if self.trial.rebinds:
            known.add(ErrorCode.E_NO_PATH)  # no answer from the new address in the time that this may take
        fine = side == "B" or event.by_remote or code in known
        # What was damaged on the way is heard here, and is nothing to a session.
        least = LIMITS.idle_timeout_s * (0.5 if self.trial.link.corrupt else 0.98)
        if not fine and (code is not ErrorCode.E_IDLE or silence < least):
            self.outcome.wrong.append(f"a session ended though its path lived: {self.outcome.lost[-1]}")


def run_trial(seed: int, *, beyond: bool = False, patience: float = 1.0) -> Outcome:
    """Run the trial of a seed; ``patience`` multiplies its limit."""
    return _Crossing(Trial.of(seed, beyond=beyond), patience=patience).run()
