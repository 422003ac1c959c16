"""Where the CPU time of a transfer goes, by stage, beside what each stage may cost.

The budget is what single operations cost by themselves: an AEAD call of 0.56 µs a packet, 16 KiB hashed at
2 GB/s, one copy through a staging buffer, one system call a run, one ACK a batch.
"""

from __future__ import annotations

from collections import Counter

from benchmarks.pairs import SEED, run_pair
from benchmarks.table import markdown

_STAGES: tuple[tuple[str, tuple[str, ...], float | None, float | None], ...] = (
    (
        "AEAD, headers, nonces, copy through staging",
        (
            "quinkgl.transport.staging",
            "quinkgl.transport.scratch",
            "quinkgl.transport.sealing",
            "quinkgl.crypto",
        ),
        0.46,
        0.50,
    ),
    ("leaf hashing", ("quinkgl.wire.merkle",), 0.5, 0.5),
    (
        "object bookkeeping, copy into place",
        ("quinkgl.transport.object", "quinkgl.transport.sinks", "quinkgl.transport.wanted"),
        0.05,
        0.08,
    ),
    (
        "recovery, congestion, pacing, ACKs",
        (
            "quinkgl.transport.recovery",
            "quinkgl.transport.congestion",
            "quinkgl.transport.pacer",
            "quinkgl.transport.received",
            "quinkgl.transport.ranges",
            "quinkgl.transport.rtt",
            "quinkgl.transport.frame",
            "quinkgl.transport.flow",
            "quinkgl.wire.frames",
        ),
        0.08,
        0.08,
    ),
    (
        "session, endpoint, swarm: routing and timers",
        ("quinkgl.transport", "quinkgl.swarm", "quinkgl.protocol"),
        None,
        None,
    ),
    ("sockets and driver", ("quinkgl_trio", "quinkgl.udp"), 0.10, 0.10),
    ("event loop", ("trio", "outcome", "selectors"), 0.05, 0.05),
    ("everything else", ("",), None, None),
)
"""Name, prefixes of ``module:function``, budget of sender and receiver in CPU seconds for 10^9 bytes."""


def _by_stage(counts: Counter[str]) -> list[float]:
    """Return the share of each stage; a function belongs to the first stage that names its module."""
    shares = [0.0] * len(_STAGES)
    total = sum(counts.values())
    for name, count in counts.items():
        index = next(i for i, stage in enumerate(_STAGES) if name.startswith(stage[1]))
        shares[index] += count / total
    return shares


def table(size: int, *, datagram: int) -> str:
    """Measure one transfer of ``size`` bytes and return its stages as a table."""
    options = {"size": size, "seed": SEED, "datagram": datagram, "offload": "auto", "profile": True}
    received, sent = run_pair("quinkgl_udp", ("receive", "send"), options)
    ends = [(Counter(end["samples"]), 1e9 * end["cpu_s"] / size) for end in (sent, received)]
    shares = [_by_stage(counts) for counts, _ in ends]
    lines = []
    for index, (name, _, send_budget, receive_budget) in enumerate(_STAGES):
        cells = [name]
        for (_, cost), share, budget in zip(ends, shares, (send_budget, receive_budget), strict=True):
            cells += [f"{cost * share[index]:.2f}", "" if budget is None else f"{budget:.2f}"]
        lines.append(tuple(cells))
    lines.append(("sum", f"{ends[0][1]:.2f}", "", f"{ends[1][1]:.2f}", ""))
    head = (
        f"CPU-s a GB at {datagram:,} bytes",
        "sender",
        "budget",
        "receiver",
        "budget",
    )
    return markdown(head, lines)


def hottest(size: int, *, datagram: int, count: int = 25) -> str:
    """Return the functions that took most, for people who look for what to change."""
    options = {"size": size, "seed": SEED, "datagram": datagram, "offload": "auto", "profile": True}
    lines = []
    for side, end in zip(
        ("receiver", "sender"), run_pair("quinkgl_udp", ("receive", "send"), options), strict=True
    ):
        counts = Counter(end["samples"])
        total = sum(counts.values())
        lines.append(f"{side}: {1e9 * end['cpu_s'] / size:.2f} CPU-s a GB")
        lines += [f"  {100 * n / total:5.1f} %  {name}" for name, n in counts.most_common(count)]
    return "\n".join(lines)
