"""QuinkGL on asyncio: a plain UDP driver today, the adapter for IPv8 to come.

The driver needs nothing beyond QuinkGL itself; pyipv8 is for the adapter that will run a swarm on IPv8's UDP
endpoint, with IPv8 for discovery and hole punching and QuinkGL's own datagrams for everything else. The node
that works today is `quinkgl_trio`; the two drivers speak the same datagrams to each other.
"""

from __future__ import annotations

from quinkgl.udp import BoundSocket, bind_udp
from quinkgl_ipv8.udp_driver import DriverClosedError, UdpDriver, open_driver, open_swarm

__all__ = ["BoundSocket", "DriverClosedError", "UdpDriver", "bind_udp", "open_driver", "open_swarm"]
