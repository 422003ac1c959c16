"""What went through a socket, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class DriverStats:
    """What went through the socket. Sizes are UDP payloads, without IP and UDP headers."""

    bytes_sent: int = 0
    bytes_received: int = 0
    datagrams_sent: int = 0
    datagrams_received: int = 0
    runs_sent: int = 0
    """Runs of datagrams that the kernel took in one call; their datagrams are in ``datagrams_sent`` too."""
    runs_received: int = 0
    """Runs handed to the machine in one call, whether the kernel or the driver had gathered them."""
    send_errors: Counter[str] = field(default_factory=Counter)
    """Datagrams that the kernel refused for good, by error name; to the protocol they are lost packets."""
    receive_errors: Counter[str] = field(default_factory=Counter)
    """Errors read from the socket, by name: ICMP answers to earlier datagrams, mostly; MSG_TRUNC and
    MSG_CTRUNC, a run that was cut short, or whose datagrams' size was, and that was dropped."""
    offload_refusals: Counter[str] = field(default_factory=Counter)
    """Runs that the kernel would not take as a run, by error name: they were sent datagram by datagram."""
