"""The report's charts as inline SVG, without library or script; the page gives the colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from statistics import fmean
from typing import Final

from quinkgl_trio.demo.results import DemoResult, PeerOutcome
from quinkgl_trio.history import format_percent

_WIDTH: Final = 720
_LEFT: Final = 64
_RIGHT: Final = 150
_TOP: Final = 16
_BOTTOM: Final = 40
_ROW: Final = 28
_LABEL_GAP: Final = 16


def _svg(height: float, title: str, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, content: str, css: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(content)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"


def _floor(values: Iterable[float]) -> float:
    """The lower end of an accuracy axis: a round tenth with some room, and never a cropped zero."""
    return max(0.0, int(10 * (min(values) - 0.02)) / 10)


def _ticks(low: float) -> list[float]:
    """Round accuracies from ``low`` to 1: every tenth, or every fifth where those would crowd."""
    step = 1 if low >= 0.4 else 2
    return [tenth / 10 for tenth in range(10, round(10 * low) - 1, -step)]


def _dot(x: float, y: float, css: str, title: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" class="{css}"><title>{escape(title)}</title></circle>'


def _spread(positions: Sequence[float]) -> list[float]:
    """Move label positions apart, in order, so that none covers another."""
    order = sorted(range(len(positions)), key=positions.__getitem__)
    moved = list(positions)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + _LABEL_GAP)
    return moved


def mean_curve(peers: Sequence[PeerOutcome]) -> list[float]:
    """Mean accuracy of the peers by round, over the rounds that all of them reported."""
    return [fmean(values) for values in zip(*(peer.curve for peer in peers), strict=False)]


def accuracy_chart(result: DemoResult) -> str:
    """Accuracy by round: each peer, their mean, the central model; alone as a level."""
    curves = [peer.curve for peer in result.peers if peer.curve]
    mean = mean_curve(result.peers)
    height = 340
    rounds = max((len(curve) for curve in [*curves, result.central_curve]), default=1)
    low = _floor([result.mean_alone, result.central, *(value for curve in curves for value in curve)])

    def x(index: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (index / max(1, rounds - 1))

    def y(value: float) -> float:
        return _TOP + (height - _TOP - _BOTTOM) * (1 - (max(value, low) - low) / (1 - low))

    def path(curve: Sequence[float], css: str, name: str) -> str:
        points = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(curve))
        return f'<polyline points="{points}" class="{css}"><title>{escape(name)}</title></polyline>'

    ticks = _ticks(low)
    parts = [_line(_LEFT, y(tick), _WIDTH - _RIGHT, y(tick), "grid") for tick in ticks]
    parts += [_text(_LEFT - 8, y(tick) + 4, f"{100 * tick:.0f} %", "quiet", "end") for tick in ticks]
    under = height - _BOTTOM + 20
    marks = sorted({0, (rounds - 1) // 2, rounds - 1})
    parts += [_text(x(index), under, f"round {index + 1}", "quiet", "middle") for index in marks]
    parts += [
        path(peer.curve, "peer", f"{peer.name}: {format_percent(peer.gossip)}") for peer in result.peers
    ]
    parts.append(path(result.central_curve, "central", "central"))
    parts.append(path(mean, "gossip", "mean of the peers"))
    parts.append(_line(_LEFT, y(result.mean_alone), _WIDTH - _RIGHT, y(result.mean_alone), "alone"))
    labels = [
        ("central", result.central, "central-text"),
        ("gossip, mean", result.mean_gossip, "gossip-text"),
        ("alone, mean", result.mean_alone, "alone-text"),
    ]
    for (name, value, css), position in zip(labels, _spread([y(v) for _, v, _ in labels]), strict=True):
        parts.append(_text(_WIDTH - _RIGHT + 8, position + 4, f"{name} {format_percent(value)}", css))
    return _svg(height, "Accuracy on the common test set by round", parts)


def gain_chart(result: DemoResult) -> str:
    """Each peer alone and after gossip, against the central model."""
    height = _TOP + _ROW * len(result.peers) + _BOTTOM + 8
    low = _floor([peer.alone for peer in result.peers] + [peer.gossip for peer in result.peers])

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - low) / (1 - low)

    bottom = height - _BOTTOM
    ticks = _ticks(low)
    parts = [_line(x(tick), _TOP, x(tick), bottom, "grid") for tick in ticks]
    parts += [_text(x(tick), bottom + 18, f"{100 * tick:.0f} %", "quiet", "middle") for tick in ticks]
    parts.append(_line(x(result.central), _TOP - 4, x(result.central), bottom, "central"))
    for row, peer in enumerate(result.peers):
        y = _TOP + _ROW * (row + 0.5)
        parts += [
            _text(_LEFT - 8, y + 4, peer.name, "", "end"),
            _line(x(peer.alone), y, x(peer.gossip), y, "bridge"),
            _dot(x(peer.alone), y, "alone-dot", f"alone {format_percent(peer.alone)}"),
            _dot(x(peer.gossip), y, "gossip-dot", f"after gossip {format_percent(peer.gossip)}"),
            _text(_WIDTH - _RIGHT + 12, y + 4, _points(peer.gossip - peer.alone), "gossip-text"),
        ]
    return _svg(height, "Accuracy of each peer, alone and after gossip", parts)


def labels_chart(result: DemoResult) -> str:
    """Training samples of each peer by class: how unequal the shards are."""
    classes = len(result.peers[0].label_counts)
    most = max(1, *(max(peer.label_counts) for peer in result.peers))
    height = _TOP + _ROW * len(result.peers) + _BOTTOM
    cell = (_WIDTH - _LEFT - _RIGHT) / classes
    parts = []
    for row, peer in enumerate(result.peers):
        y = _TOP + _ROW * row
        parts.append(_text(_LEFT - 8, y + _ROW / 2 + 4, peer.name, "", "end"))
        for label, count in enumerate(peer.label_counts):
            x = _LEFT + cell * label
            parts.append(
                f'<rect x="{x + 1:.1f}" y="{y + 1:.1f}" width="{cell - 2:.1f}" height="{_ROW - 2}" rx="3" '
                f'class="cell" style="fill-opacity:{0.06 + 0.84 * count / most:.2f}">'
                f"<title>{escape(peer.name)}, class {label}: {count} samples</title></rect>"
            )
            shade = "on-dark" if count > most / 2 else "quiet"
            parts.append(_text(x + cell / 2, y + _ROW / 2 + 4, str(count) if count else "", shade, "middle"))
        parts.append(_text(_WIDTH - _RIGHT + 12, y + _ROW / 2 + 4, f"{peer.samples} samples", "quiet"))
    under = height - _BOTTOM + 18
    parts += [_text(_LEFT + cell * (k + 0.5), under, str(k), "quiet", "middle") for k in range(classes)]
    return _svg(height, "Training samples of each peer by class", parts)
