"""QuinkGL on Trio: the UDP driver, the reference node and the `quinkgl-trio` command.

Names are loaded on first use, so that the command's `--help` needs neither Trio nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quinkgl_trio.driver import UdpDriver, open_driver, open_swarm
    from quinkgl_trio.history import RoundReport, RunSummary
    from quinkgl_trio.network import JoinError
    from quinkgl_trio.node import GossipConfig, Node
    from quinkgl_trio.sockets import BoundSocket, bind_udp
    from quinkgl_trio.training import TrainingPlan

__all__ = [
    "BoundSocket",
    "GossipConfig",
    "JoinError",
    "Node",
    "RoundReport",
    "RunSummary",
    "TrainingPlan",
    "UdpDriver",
    "bind_udp",
    "open_driver",
    "open_swarm",
]

_MODULES = {
    "BoundSocket": "sockets",
    "GossipConfig": "node",
    "JoinError": "network",
    "Node": "node",
    "RoundReport": "history",
    "RunSummary": "history",
    "TrainingPlan": "training",
    "UdpDriver": "driver",
    "bind_udp": "sockets",
    "open_driver": "driver",
    "open_swarm": "driver",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it.

    Raises:
        AttributeError: there is no such public name.
        ImportError: Trio is not installed; the message says how to install it.
    """
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name != "trio":
            raise
        message = "quinkgl_trio needs 'trio', which is not installed: pip install 'quinkgl[trio]'"
        raise ImportError(message, name="trio") from error
    globals()[name] = value
    return value
