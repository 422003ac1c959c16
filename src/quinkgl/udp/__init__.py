"""What every UDP driver needs and no event loop has to do with: sockets, bursts of datagrams, the pump.

A driver for another event loop imports from here and adds the waiting (docs/driver-authors.md). The core
imports nothing of this.
"""

from __future__ import annotations

from quinkgl.udp.bursts import BurstSocket, Offload
from quinkgl.udp.machine import Machine, Transmittable
from quinkgl.udp.pump import Pump
from quinkgl.udp.sockets import BoundSocket, adopt_udp, bind_udp
from quinkgl.udp.stats import DriverStats

__all__ = [
    "BoundSocket",
    "BurstSocket",
    "DriverStats",
    "Machine",
    "Offload",
    "Pump",
    "Transmittable",
    "adopt_udp",
    "bind_udp",
]
