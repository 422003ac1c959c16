"""The demo's result as a table for a terminal or a file."""

from __future__ import annotations

from quinkgl_trio.demo.results import DemoResult
from quinkgl_trio.history import format_bytes, format_percent

_HEADS = ("peer", "id", "classes", "samples", "alone", "gossip", "gain", "updates", "sent", "seconds")


def result_table(result: DemoResult) -> str:
    """Every peer, the means, and the centralised reference, as plain text."""
    rows = [
        (
            peer.name,
            peer.peer_id[:8],
            str(peer.classes),
            str(peer.samples),
            format_percent(peer.alone),
            format_percent(peer.gossip),
            f"{100 * (peer.gossip - peer.alone):+.1f}",
            str(peer.updates_received),
            format_bytes(peer.bytes_sent),
            f"{peer.seconds:.1f}",
        )
        for peer in result.peers
    ]
    foot = (
        "all",
        "",
        "",
        str(sum(peer.samples for peer in result.peers)),
        format_percent(result.mean_alone),
        format_percent(result.mean_gossip),
        f"{100 * (result.mean_gossip - result.mean_alone):+.1f}",
        str(result.updates_received),
        format_bytes(result.bytes_sent),
        f"{result.seconds:.1f}",
    )
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, foot, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [_aligned(_HEADS, widths), rule, *(_aligned(row, widths) for row in rows), rule]
    lines += [_aligned(foot, widths), f"one model on all the data: {format_percent(result.central)}"]
    return "\n".join(lines)


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    first = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
    rest = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
    return "  ".join(first + rest).rstrip()
