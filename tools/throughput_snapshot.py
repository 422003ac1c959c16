"""Measure in virtual time how fast one object crosses a link, by loss, round trip and congestion controller.

    python tools/throughput_snapshot.py            # write benchmarks/throughput.json and throughput.md
    python tools/throughput_snapshot.py --check    # compare with what is written there

Nothing depends on the machine: one seed gives one run, so that a change of what the transport does shows as
a change of the file. A cell is the time from the session's begin to the last acknowledgement, of one object
over a pair of endpoints, and the number of datagrams of the sender. Every path has a queue of one round trip,
or of 100 ms where that is more; losses are single and go both ways. Exit code 1 where a check finds a
difference.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from quinkgl.testing.endpoints import B, Pair, events_of
from quinkgl.testing.network import Link
from quinkgl.transport import (
    ConnectionEstablished,
    EndpointConfig,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    leaf_hashes,
    merkle_root,
)
from quinkgl.transport.congestion import CongestionController, NewReno

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "benchmarks" / "throughput.json"
TABLE = ROOT / "benchmarks" / "throughput.md"

CONTROLLERS: dict[str, Callable[[int], CongestionController]] = {"NewReno": NewReno}
RATES_MBIT = (10, 100)
ROUND_TRIPS_MS = (10, 50, 100, 300)
LOSSES = (0.0, 0.001, 0.01, 0.05)
OBJECT_BYTES = 2_000_000
MTU_BYTES = 1452
"""What Ethernet carries of UDP over IPv6."""
_LEAST_QUEUE_S = 0.1
_LIMIT_S = 3000.0


class Setting(NamedTuple):
    """One cell of the table."""

    controller: str
    rate_mbit: int
    round_trip_ms: int
    loss: float

    @property
    def name(self) -> str:
        """What the cell is called in the file."""
        return f"{self.controller} {self.rate_mbit} Mbit/s {self.round_trip_ms} ms {self.loss:.1%}"


def settings() -> list[Setting]:
    """Return every cell, in the order of the file."""
    return [
        Setting(controller, rate, round_trip, loss)
        for controller in CONTROLLERS
        for rate in RATES_MBIT
        for round_trip in ROUND_TRIPS_MS
        for loss in LOSSES
    ]


def measure(setting: Setting, size: int = OBJECT_BYTES) -> dict[str, float]:
    """Let one object of ``size`` bytes cross; return virtual seconds and what the sender sent."""
    rate = setting.rate_mbit * 1e6 / 8
    round_trip_s = setting.round_trip_ms / 1000
    link = Link(
        delay_s=round_trip_s / 2,
        loss=setting.loss,
        rate=rate,
        queue_bytes=int(rate * max(_LEAST_QUEUE_S, round_trip_s)),
        mtu=MTU_BYTES,
    )
    config = EndpointConfig(controller=CONTROLLERS[setting.controller])
    pair = Pair(7, link, config_a=config, config_b=config)
    body = random.Random(size).randbytes(size)  # noqa: S311 - bytes to be carried
    leaves = leaf_hashes(body)
    started_at: list[float] = []

    def offer(event: object) -> None:
        if isinstance(event, ConnectionEstablished):
            started_at.append(pair.now)
            root = merkle_root(leaves)
            pair.a.machine.offer_object(
                event.peer, root, b"".join(leaves), b"", memoryview(body), now=pair.now
            )

    def accept(event: object) -> None:
        if isinstance(event, OfferReceived):
            pair.b.machine.accept_object(event.peer, event.transfer, now=pair.now)

    pair.a.on_event, pair.b.on_event = offer, accept
    pair.a.machine.connect(B, now=0.0)
    done = pair.run(lambda: bool(events_of(pair.a, ObjectSent)), limit_s=_LIMIT_S)
    arrived = [bytes(event.body) for event in events_of(pair.b, ObjectArrived)]
    if not done or arrived != [body] or len(started_at) != 1:
        raise RuntimeError(f"{setting.name}: the object did not cross")
    seconds = pair.now - started_at[0]
    stats = pair.a.machine.stats
    return {
        "seconds": round(seconds, 6),
        "bytes_per_second": round(size / seconds),
        "datagrams_sent": stats.datagrams_sent,
        "packets_lost": stats.packets_lost,
    }


def snapshot(wanted: Iterable[Setting]) -> dict[str, dict[str, float]]:
    """Measure cells, by their names."""
    return {setting.name: measure(setting) for setting in wanted}


def table(cells: dict[str, dict[str, float]]) -> str:
    """Return the page that shows all cells."""
    lines = [
        "# Throughput in virtual time",
        "",
        f"One object of {OBJECT_BYTES // 1_000_000} MB over a pair of endpoints, kB/s, by",
        "`python tools/throughput_snapshot.py`. Losses are single, independent and as frequent in both",
        "directions; the queue holds a round trip, 100 ms at least. The figures tell what the transport does",
        "on a link, not how fast a machine computes it.",
    ]
    for controller in CONTROLLERS:
        for rate in RATES_MBIT:
            heads = " | ".join(f"{loss:.1%} lost" for loss in LOSSES)
            lines += ["", f"## {controller}, {rate} Mbit/s", "", f"| round trip | {heads} |"]
            lines.append("|---:|" + "---:|" * len(LOSSES))
            for round_trip in ROUND_TRIPS_MS:
                names = [Setting(controller, rate, round_trip, loss).name for loss in LOSSES]
                speeds = " | ".join(f"{cells[name]['bytes_per_second'] / 1000:,.0f}" for name in names)
                lines.append(f"| {round_trip} ms | {speeds} |")
    return "\n".join(lines) + "\n"


def differences(old: dict[str, dict[str, float]], new: dict[str, dict[str, float]]) -> list[str]:
    """Say where two snapshots differ."""
    return [
        f"{name}: {old.get(name)} became {new.get(name)}"
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the snapshot, or compare with it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args(arguments)
    cells = snapshot(settings())
    text, page = json.dumps(cells, indent=1) + "\n", table(cells)
    if not options.check:
        DATA.write_text(text, encoding="utf-8")
        TABLE.write_text(page, encoding="utf-8")
        print(page)
        return 0
    found = differences(json.loads(DATA.read_text(encoding="utf-8")), cells)
    if TABLE.read_text(encoding="utf-8") != page:
        found.append(f"{TABLE.name} shows other figures")
    print("\n".join(found) if found else f"{len(cells)} cells are as they were")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
