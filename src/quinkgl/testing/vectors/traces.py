"""Operations of the families of traces."""

from __future__ import annotations

from quinkgl.testing.vectors.ours import Fields, Json, operation
from quinkgl.transport.congestion import NewReno
from quinkgl.transport.path_mtu import PathMtu
from quinkgl.transport.recovery import LossRecovery, RunPart

_DATAGRAM_BYTES = 1200
_MICROS = 1_000_000


def _micros(seconds: float) -> int:
    return round(seconds * _MICROS)


def _numbers(parts: list[RunPart[None]]) -> list[int]:
    return sorted(number for part in parts for number in part.numbers)


@operation("recovery-trace", "trace")
def recover(given: Fields) -> tuple[Fields, Fields]:
    """Send packets, take ACKs, and act on the deadline."""
    sender: LossRecovery[None] = LossRecovery(
        NewReno(_DATAGRAM_BYTES),
        max_ack_delay_s=given["max_ack_delay_us"] / _MICROS,
        max_probe_interval_s=given["idle_us"] / _MICROS / 10,
    )
    steps = []
    for event in given["events"]:
        now = event["at_us"] / _MICROS
        acknowledged: list[RunPart[None]] = []
        lost: list[RunPart[None]] = []
        if "send" in event:
            if sender.take_number() != event["send"]:
                raise ValueError("packets leave in order here")
            sender.on_sent(event["send"], event["size"], None, now)
        elif "ack" in event:
            ranges = [(low, high) for low, high in event["ack"]]
            acknowledged, lost = sender.on_ack_untrusted(ranges, event["delay_us"] / _MICROS, now)
        elif event["timer"] is True:
            lost = sender.on_timeout(now)
        else:
            raise ValueError(event)
        deadline = sender.deadline()
        steps.append(
            {
                "acknowledged": _numbers(acknowledged),
                "lost": _numbers(lost),
                "in_flight": sender.bytes_in_flight,
                "window": sender.controller.window,
                "smoothed_us": _micros(sender.rtt.smoothed),
                "variation_us": _micros(sender.rtt.variation),
                "deadline_us": None if deadline is None else _micros(deadline),
                "probes": sender.probe_count,
            }
        )
    return {}, {"steps": steps}


@operation("cc-trace", "trace")
def control(given: Fields) -> tuple[Fields, Fields]:
    """Follow the window."""
    controller = NewReno(given["datagram"])
    windows = [controller.window]
    for event in given["events"]:
        if "acknowledged" in event:
            size, at = event["acknowledged"], event["sent_at"]
            controller.on_acknowledged(size, at, window_limited=event["limited"])
        elif "lost" in event:
            controller.on_congestion(event["lost"], event["now"])
        elif event["persistent"] is True:
            controller.on_persistent_congestion()
        else:
            raise ValueError(event)
        windows.append(controller.window)
    return {}, {"windows": windows}


@operation("pmtu-trace", "trace")
def search(given: Fields) -> tuple[Fields, Fields]:
    """Follow the size of datagrams."""
    path = PathMtu(start=given["start"], cap=given["most"], discovery=True)
    sizes, probes = [], []
    for event in given["events"]:
        probes.append(_step(path, event))
        sizes.append(path.datagram_bytes)
    return {}, {"sizes": sizes, "probes": probes}


def _step(path: PathMtu, event: Json) -> int:
    """Take one event; return the size of a probe that leaves, or 0."""
    if "due" in event:
        size = path.probe_due(event["at"])
        if size is not None:
            path.on_probe_sent(event["number"], size, event["at"], event["timeout"])
        return size or 0
    if "acknowledged" in event:
        path.on_ranges_acknowledged(tuple((low, high) for low, high in event["acknowledged"]))
    elif "arrived" in event:
        path.on_packet_acknowledged(event["arrived"])
    else:
        path.on_packets_lost(event["lost"], event["at"])
    return 0
