"""The groups of measurements, each returning the rows of its table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from benchmarks import connects, handshakes, idle, stages, startup
from benchmarks.pairs import Transfer, round_trip, transfer
from benchmarks.table import Row, markdown, spread
from quinkgl.transport import PostQuantum

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: rounds, and sizes in bytes for the quick carriers and for the slow ones."""

    rounds: int
    size: int
    slow_size: int
    fan_out: int
    repeats: int


FULL = Plan(rounds=5, size=128 * MB, slow_size=16 * MB, fan_out=10 * MB, repeats=200)
QUICK = Plan(rounds=2, size=32 * MB, slow_size=4 * MB, fan_out=4 * MB, repeats=30)


@dataclass(frozen=True, slots=True)
class Lane:
    """A carrier with its options, as a line of the transfer table."""

    name: str
    carrier: str
    options: dict[str, Any]
    slow: bool = False


def _ours(name: str, datagram: int, offload: str) -> Lane:
    return Lane(name, "quinkgl_udp", {"datagram": datagram, "offload": offload})


LANES = (
    _ours("QuinkGL, 1,200 bytes, no GSO or GRO", 1200, "gather"),
    _ours("QuinkGL, 1,452 bytes", 1452, "auto"),
    _ours("QuinkGL, 8,900 bytes", 8900, "auto"),
    _ours("QuinkGL, as the path allows", 65_000, "auto"),
    Lane("aioquic, 1,200 bytes", "quic", {"datagram": 1200}, slow=True),
    Lane("aioquic, 1,452 bytes", "quic", {"datagram": 1452}, slow=True),
    Lane("TLS over TCP, Trio", "trio_stream", {"tls": True}),
    Lane("TLS over TCP, asyncio", "asyncio_tls", {}),
    Lane("gRPC with TLS", "grpc_tls", {}),
    Lane("TCP, Trio, in the clear", "trio_stream", {"tls": False}),
)
_PLAIN, _COMMON, _JUMBO, _LARGEST, _QUIC_PLAIN, _QUIC, _TLS = (lane.name for lane in LANES[:7])


@dataclass(slots=True)
class Measured:
    """The rounds of one lane."""

    size: int
    runs: list[Transfer]

    @property
    def rates(self) -> list[float]:
        """MB/s of payload, a round each."""
        return [self.size / run.seconds / MB for run in self.runs]

    @property
    def cpu(self) -> list[float]:
        """CPU seconds of both sides for 10^9 bytes, a round each."""
        return [1e9 * (run.cpu_send_s + run.cpu_receive_s) / self.size for run in self.runs]

    def memory(self, *, sender: bool) -> float:
        """Return the growth of one side's peak memory during the transfer, in sizes of the object."""
        return median(run.rss_send if sender else run.rss_receive for run in self.runs) / self.size


def transfers(plan: Plan, tell: Callable[[str], None]) -> list[str]:
    """Measure bulk transfers between two processes, every carrier once a round."""
    measured = {lane.name: Measured(plan.slow_size if lane.slow else plan.size, []) for lane in LANES}
    for round_number in range(plan.rounds):
        for lane in LANES:
            held = measured[lane.name]
            held.runs.append(transfer(lane.carrier, held.size, **lane.options))
            tell(f"round {round_number + 1}: {lane.name}: {held.rates[-1]:.0f} MB/s")
    lines = [
        (
            name,
            spread(held.rates, "MB/s"),
            f"{median(held.rates) / median(measured[_TLS].rates):.2f}",
            spread(held.cpu, "s", 2),
            f"{held.memory(sender=True):.2f} S / {held.memory(sender=False):.2f} S",
        )
        for name, held in measured.items()
    ]
    overview = markdown(
        (
            "transfer between two processes",
            "payload",
            "× Trio TLS",
            "CPU a GB, both",
            "memory, sender / receiver",
        ),
        lines,
    )

    def row(what: str, ours: str, peer: str, floor: float, *, cpu: bool = False) -> Row:
        a, b = measured[ours], measured[peer]
        left, right = (a.cpu, b.cpu) if cpu else (a.rates, b.rates)
        unit, digits = ("s", 2) if cpu else ("MB/s", 0)
        ratio = median(left) / median(right)
        return Row(what, spread(left, unit, digits), spread(right, unit, digits), ratio, floor, cpu)

    rows = [
        row("1,452 bytes, against Trio TLS", _COMMON, _TLS, 0.35),
        row("1,452 bytes, against aioquic", _COMMON, _QUIC, 8),
        row("8,900 bytes, against Trio TLS", _JUMBO, _TLS, 0.7),
        row("as the path allows, against Trio TLS", _LARGEST, _TLS, 0.7),
        row("no GSO or GRO, 1,200 bytes, against aioquic", _PLAIN, _QUIC_PLAIN, 3),
        row("CPU a GB at 1,452 bytes, against Trio TLS", _COMMON, _TLS, 4, cpu=True),
    ]
    return [overview, _comparison(rows)]


def fan_out(plan: Plan, tell: Callable[[str], None]) -> list[str]:
    """Measure one update to ten members at once, beside the same update to one."""
    options = {"datagram": 1452, "offload": "auto"}
    rates: dict[int, list[float]] = {1: [], 10: []}
    for _ in range(plan.rounds):
        for receivers, held in rates.items():
            took = transfer("quinkgl_udp", plan.fan_out, receivers=receivers, **options)
            held.append(receivers * plan.fan_out / took.seconds / MB)
            tell(f"to {receivers}: {held[-1]:.0f} MB/s in sum")
    ratio = median(rates[10]) / median(rates[1])
    row = Row(
        f"{plan.fan_out // MB} MB to 10 peers at once, in sum, against one transfer",
        spread(rates[10], "MB/s"),
        spread(rates[1], "MB/s"),
        ratio,
        0.6,
    )
    return [_comparison([row])]


def small(plan: Plan, tell: Callable[[str], None]) -> list[str]:
    """Measure what does not depend on bandwidth: handshakes, round trips, idle sessions, the start."""
    kinds = {
        "ours": handshakes.ours,
        "post-quantum": partial(handshakes.ours, post_quantum=PostQuantum.OFFERED),
        "aioquic": handshakes.aioquic,
        "tls": handshakes.tls,
        "ours over sockets": connects.ours,
        "aioquic over sockets": connects.aioquic,
    }
    cpu: dict[str, list[float]] = {name: [] for name in kinds}
    carriers = {"ours": "quinkgl_udp", "grpc": "grpc_tls", "aioquic": "quic"}
    trips: dict[str, list[float]] = {name: [] for name in carriers}
    for _ in range(plan.rounds):
        for name, kind in kinds.items():
            cpu[name].append(1e3 * kind(max(5, plan.repeats // 4)))
        for name, carrier in carriers.items():
            trips[name].append(1e6 * round_trip(carrier, count=10 * plan.repeats, message=100))
        tell(f"handshake {cpu['ours'][-1]:.2f} ms, round trip {trips['ours'][-1]:.0f} µs")
    held = idle.bytes_per_connection()
    start = startup.seconds(max(5, plan.repeats // 10))
    rows = [
        Row(
            f"CPU of a handshake{what}, both sides, against {name}'s",
            spread(cpu[own], "ms", 2),
            spread(cpu[peer], "ms", 2),
            median(cpu[own]) / median(cpu[peer]),
            floor,
            smaller_is_better=True,
        )
        for own, what, peer, name, floor in (
            ("ours", "", "aioquic", "aioquic", 0.4),
            ("post-quantum", " with ML-KEM-768", "aioquic", "aioquic", None),
            ("ours", "", "tls", "TLS 1.3", None),
            ("ours over sockets", " and a close, over sockets", "aioquic over sockets", "aioquic", None),
        )
    ]
    rows += [
        Row(
            f"round trip of 100 bytes, against {peer}",
            spread(trips["ours"], "µs"),
            spread(trips[name], "µs"),
            median(trips["ours"]) / median(trips[name]),
            floor,
            smaller_is_better=True,
        )
        for name, peer, floor in (("grpc", "a gRPC call's", 1.0), ("aioquic", "aioquic's", None))
    ]
    rows.append(
        Row(
            "memory of an idle session, one end, against 40 kB",
            f"{held / 1e3:.1f} kB",
            "40 kB",
            held / 40e3,
            1.0,
            smaller_is_better=True,
        )
    )
    rows.append(Row("wakes of an idle session's end, a minute", f"{idle.wakes_per_minute():.1f}", ""))
    rows += [
        Row(
            f"{what}, against a bare interpreter",
            f"{1e3 * start[name]:.0f} ms",
            f"{1e3 * start['bare']:.0f} ms",
            start[name] / start["bare"],
            floor,
            smaller_is_better=True,
        )
        for name, what, floor in (("import", "`import quinkgl`", 4), ("help", "`quinkgl --help`", 6))
    ]
    return [_comparison(rows)]


def _comparison(rows: list[Row]) -> str:
    head = ("what", "ours", "peer", "ratio", "floor", "met")
    return markdown(head, [row.cells() for row in rows])


def profile(plan: Plan, tell: Callable[[str], None]) -> list[str]:
    """Sample where the time of a transfer goes, stage by stage."""
    tell("stages of a transfer")
    return [stages.table(plan.size, datagram=1452), stages.table(plan.size, datagram=8900)]


GROUPS: dict[str, Callable[[Plan, Callable[[str], None]], list[str]]] = {
    "transfers": transfers,
    "fan-out": fan_out,
    "small": small,
    "profile": profile,
}
