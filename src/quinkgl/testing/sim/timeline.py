"""Draw one run as an HTML page: ``python -m quinkgl.testing.sim.timeline TRACE.jsonl PAGE.html``.

TRACE.jsonl is what ``python -m quinkgl.testing.sim --seed 7 --trace TRACE.jsonl`` wrote. The page needs
nothing but a browser: a lane for each node, time from left to right, a mark for each thing that happened,
told in words when pointed at; crashes, partitions and the heal are lines across. Datagrams are drawn as a
band whose darkness is their number, since there are too many to point at.

Exit codes: 0, the page was written; 2, wrong usage or a file that is no trace.
"""

from __future__ import annotations

import argparse
import html
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_WIDTH = 1600
_LANE = 22
_LEFT = 90
_TOP = 40
_SLICES = 400
_COLOURS = {
    "PeerConnected": "#2a7",
    "PeerDisconnected": "#c44",
    "UpdateReceived": "#26c",
    "UpdateDelivered": "#7ad",
    "UpdateNotDelivered": "#e93",
    "PeerConvicted": "#a0a",
    "ExchangeCommitted": "#085",
    "ExchangeAborted": "#960",
}
_EVERYBODY = -1
_STYLE = (
    "body{font:13px sans-serif;margin:1em} svg{background:#fff;border:1px solid #ccc} "
    "text{font-size:11px} circle:hover{stroke:#000;stroke-width:2}"
)


def draw(lines: Iterable[str], title: str) -> str:
    """Return the page for a trace; ValueError for a line that is none."""
    things = [_read(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    until = max((thing["time"] for thing in things), default=1.0) or 1.0
    nodes = 1 + max((thing["node"] for thing in things), default=0)
    height = _TOP + nodes * _LANE + 20
    parts = [*_axis(until, height), *_lanes(nodes), *_bands(things, until), *_marks(things, until, height)]
    counts = Counter(thing["name"] for thing in things)
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{count}</td></tr>" for name, count in sorted(counts.items())
    )
    return (
        f"<!doctype html><meta charset='utf-8'><title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(title)}</h1><p>{nodes} nodes, {until:.1f} virtual seconds, {len(things)} events. "
        f"Point at a mark to read it.</p>"
        f"<svg width='{_WIDTH + _LEFT + 20}' height='{height}'>{''.join(parts)}</svg>"
        f"<table>{rows}</table>\n"
    )


def _read(number: int, line: str) -> dict[str, Any]:
    try:
        thing = json.loads(line)
        return {
            "time": float(thing["time"]),
            "name": str(thing["name"]),
            "node": int(thing["node"]),
            "data": thing["data"],
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"line {number} is no event of a trace: {line[:60]!r}") from error


def _x(time: float, until: float) -> float:
    return round(_LEFT + _WIDTH * time / until, 1)


def _y(node: int) -> float:
    return _TOP + node * _LANE + _LANE / 2


def _axis(until: float, height: int) -> Iterable[str]:
    step = next((step for step in (1, 5, 10, 30, 60, 300) if until / step <= 30), 1000)
    for tick in range(0, int(until) + 1, step):
        x = _x(tick, until)
        yield f"<line x1='{x}' y1='{_TOP}' x2='{x}' y2='{height - 20}' stroke='#eee'/>"
        yield f"<text x='{x}' y='{_TOP - 8}' text-anchor='middle'>{tick} s</text>"


def _lanes(nodes: int) -> Iterable[str]:
    for node in range(nodes):
        yield f"<text x='6' y='{_y(node) + 4}'>node {node}</text>"
        yield f"<line x1='{_LEFT}' y1='{_y(node)}' x2='{_LEFT + _WIDTH}' y2='{_y(node)}' stroke='#ddd'/>"


def _bands(things: list[dict[str, Any]], until: float) -> Iterable[str]:
    """Datagrams that arrived, by node and slice of time."""
    counts: Counter[tuple[int, int]] = Counter()
    for thing in things:
        if thing["name"] == "transport:datagram_arrived":
            counts[thing["node"], int(thing["time"] / until * (_SLICES - 1))] += 1
    most = max(counts.values(), default=1)
    width = _WIDTH / _SLICES
    for (node, slot), count in sorted(counts.items()):
        opacity = round(0.1 + 0.6 * count / most, 2)
        yield (
            f"<rect x='{_LEFT + slot * width:.1f}' y='{_y(node) + 5}' width='{width:.1f}' height='5' "
            f"fill='#555' opacity='{opacity}'/>"
        )


def _marks(things: list[dict[str, Any]], until: float, height: int) -> Iterable[str]:
    for thing in things:
        layer, _, name = thing["name"].partition(":")
        if layer == "transport":
            continue
        x, node = _x(thing["time"], until), thing["node"]
        words = html.escape(f"{thing['time']:.3f} s, node {node}: {name} {json.dumps(thing['data'])}"[:400])
        if node == _EVERYBODY:
            yield (
                f"<line x1='{x}' y1='{_TOP - 4}' x2='{x}' y2='{height - 20}' stroke='#b00' "
                f"stroke-dasharray='4 3'><title>{words}</title></line>"
                f"<text x='{x + 3}' y='{height - 6}' fill='#b00'>{html.escape(name)}</text>"
            )
            continue
        if layer == "simulation":
            yield (
                f"<rect x='{x - 4}' y='{_y(node) - 8}' width='8' height='8' fill='#b00'>"
                f"<title>{words}</title></rect>"
            )
            continue
        colour = _COLOURS.get(name, "#888")
        yield f"<circle cx='{x}' cy='{_y(node)}' r='3.5' fill='{colour}'><title>{words}</title></circle>"


def main(arguments: list[str] | None = None) -> int:
    """Draw the trace of a file and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m quinkgl.testing.sim.timeline", description="Draw one run as an HTML page."
    )
    parser.add_argument("trace", type=Path)
    parser.add_argument("page", type=Path)
    options = parser.parse_args(arguments)
    try:
        with options.trace.open(encoding="utf-8") as lines:
            page = draw(lines, options.trace.name)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    options.page.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
