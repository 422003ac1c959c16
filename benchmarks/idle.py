"""What an open, idle session costs: bytes of memory, and how often it wants to be woken."""

from __future__ import annotations

import gc
import tracemalloc

from quinkgl.testing.endpoints import A, make_endpoint
from quinkgl.testing.network import VirtualNetwork
from quinkgl.transport import Endpoint

_HOURS_S = 600.0


def bytes_per_connection(count: int = 100) -> float:
    """Return the memory that one open session holds on the side that accepted it, bytes.

    Both ends live in this process, so what ``count`` sessions add is divided by both their ends.
    """
    network = VirtualNetwork(1)
    hub = network.add(A, make_endpoint(0))
    ends: list[Endpoint] = [make_endpoint(index + 1) for index in range(count)]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for index, end in enumerate(ends):
        node = network.add(("198.51.100.2", 5000 + index), end)
        node.machine.connect(A, now=network.now)
    if not network.run(lambda: len(hub.machine.peers()) == count, limit_s=30.0):
        raise SystemExit("benchmarks: sessions did not open")
    network.run(limit_s=20.0)
    for node in network.nodes.values():
        node.events.clear()
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / (2 * count)


def wakes_per_minute() -> float:
    """Return how often an idle session's end asks for its timer."""
    network = VirtualNetwork(1)
    network.add(A, make_endpoint(1))
    other = network.add(("198.51.100.2", 5000), make_endpoint(2))
    other.machine.connect(A, now=0.0)
    network.run(limit_s=30.0)
    wakes = 0
    end = network.now + _HOURS_S
    while network.now < end:
        deadline = other.machine.deadline()
        if deadline is None:
            break
        wakes += 1
        network.run(limit_s=max(0.0, deadline - network.now) + 1e-3)
    return 60.0 * wakes / _HOURS_S
