"""Fill the traces of spec/guide.md with the packets of one run of the implementation.

The run is always the same one: two members with keys from fixed seeds meet over a path of 20 ms, agree on
their terms, move one update and part. A block of the page whose info string is `trace A-B` shows its
datagrams A to B: the fields of each packet, what was inside it, and the messages that it carried. Without
arguments the blocks are rewritten; with `--check` they are only compared, and the exit code is 1 where one
differs. `--all` prints the whole trace instead.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from quinkgl.serialization import encode_tensors
from quinkgl.swarm import SwarmConfig
from quinkgl.testing.network import Link
from quinkgl.testing.pcap import CapturedDatagram
from quinkgl.testing.swarms import SwarmNetwork, updates_of
from quinkgl.transport import ConnectionConfig, EndpointConfig, PostQuantum
from quinkgl.wire.control import HEADER_BYTES
from quinkgl.wire.dissect import Field
from quinkgl.wire.dissect_messages import dissect_message

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "spec" / "guide.md"
BLOCK = re.compile(r"(?P<head>```trace (?P<first>\d+)-(?P<last>\d+)\n)(?P<body>.*?)(?P<end>```\n)", re.DOTALL)
_SHOWN_BYTES = 24
_NAMES = {"10.0.0.1": "A", "10.0.0.2": "B"}


def _dissector() -> ModuleType:
    """Load the dissector, which is an example and no part of the package."""
    spec = importlib.util.spec_from_file_location("dissector", ROOT / "examples" / "dissector.py")
    if spec is None or spec.loader is None:
        raise SystemExit("examples/dissector.py cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules["dissector"] = module
    spec.loader.exec_module(module)
    return module


def run() -> tuple[list[CapturedDatagram], list[str]]:
    """Return the datagrams of the run, and its key log."""
    capture: list[CapturedDatagram] = []
    key_log: list[str] = []
    swarms = SwarmNetwork(1, Link(delay_s=0.02), checked=False)
    network = swarms.network
    network.tap = lambda now, source, to, data: capture.append(CapturedDatagram(now, source, to, bytes(data)))
    connection = ConnectionConfig(max_datagram_bytes=1200)
    endpoint = EndpointConfig(connection=connection, post_quantum=PostQuantum.NO, keylog=key_log.append)
    config = SwarmConfig(endpoint=endpoint)
    first, second = swarms.add(config=config), swarms.add(config=config)
    swarms.connect(1, 0)
    if not network.run(lambda: bool(first.machine.peers()) and bool(second.machine.peers()), limit_s=5):
        raise SystemExit("the two members of the trace did not meet")
    network.run(limit_s=0.2)
    weights = {"w": np.arange(5000, dtype=np.float32), "b": np.zeros(3, np.float32)}
    swarms.publish(1, encode_tensors(weights), round=1)
    if not network.run(lambda: len(updates_of(first)) == 1, limit_s=5):
        raise SystemExit("the update of the trace did not arrive")
    network.run(limit_s=0.2)
    second.machine.close(now=network.now)
    network.run(limit_s=2.0)
    return capture, key_log


def trace() -> list[list[str]]:
    """Return the lines of each datagram of the run."""
    module = _dissector()
    capture, key_log = run()
    dissector = module.Dissector(key_log)
    dissector.run(capture)
    left = dissector.unexplained_bytes()
    if left.total():
        raise SystemExit(f"bytes of the trace without an explanation: {dict(left)}")
    return [list(_datagram(number, packet)) for number, packet in enumerate(dissector.packets)]


def _datagram(number: int, packet: Any) -> Iterator[str]:
    captured = packet.captured
    way = f"{_NAMES[captured.source[0]]} > {_NAMES[captured.destination[0]]}"
    yield f"datagram {number}  {1000 * captured.time:.1f} ms  {way}  {len(captured.data)} bytes"
    yield from _fields(captured.data, packet.fields, 2)
    if not packet.opened:
        return
    yield "  opened:"
    yield from _fields(packet.plaintext, packet.inside, 4)
    for message in _messages(packet):
        yield f"    message of {len(message)} bytes:"
        yield from _fields(message, dissect_message(message), 6)


def _messages(packet: Any) -> Iterator[bytes]:
    """Cut the CONTROL data of a packet into messages; the run is so small that none is cut by a packet."""
    for field in packet.inside:
        if field.name != "CONTROL data":
            continue
        data = packet.plaintext[field.start : field.stop]
        at = 0
        while at < len(data):
            end = at + HEADER_BYTES + int.from_bytes(data[at + 1 : at + HEADER_BYTES], "big")
            yield data[at:end]
            at = end


def _fields(data: bytes, fields: Iterable[Field], indent: int) -> Iterator[str]:
    for field in fields:
        value = data[field.start : field.stop]
        digits = value[:_SHOWN_BYTES].hex() + (f"… {len(value)} bytes" if len(value) > _SHOWN_BYTES else "")
        means = "" if not field.text or field.text[:32] == value.hex()[:32] else f" = {_short(field.text)}"
        yield f"{' ' * indent}{field.start:5}  {field.name}: {digits}{means}"


def _short(text: str) -> str:
    return text if len(text) <= 2 * _SHOWN_BYTES else text[: 2 * _SHOWN_BYTES] + "…"


def render(text: str, made: list[list[str]]) -> str:
    """Return the page with all of its traces made anew."""

    def fill(match: re.Match[str]) -> str:
        chosen = made[int(match["first"]) : int(match["last"]) + 1]
        return match["head"] + "\n\n".join("\n".join(lines) for lines in chosen) + "\n" + match["end"]

    return BLOCK.sub(fill, text)


def main() -> None:
    """Rewrite, compare or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 on a difference")
    parser.add_argument("--all", action="store_true", help="print every datagram of the run")
    arguments = parser.parse_args()
    made = trace()
    if arguments.all:
        print("\n\n".join("\n".join(lines) for lines in made))
        return
    text = PAGE.read_text(encoding="utf-8")
    page = render(text, made)
    if page != text:
        print(f"spec/guide.md: {'differs from the implementation' if arguments.check else 'written'}")
        if arguments.check:
            raise SystemExit(1)
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
