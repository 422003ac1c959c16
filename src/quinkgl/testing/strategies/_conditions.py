"""Hypothesis strategies for what a network does, and for what happens to a carrier."""

from __future__ import annotations

from hypothesis import strategies as st

from quinkgl.testing.carriers import SIDES, Reconnect, Send, Step, Turn
from quinkgl.testing.network import Blackouts, Bursts, Link
from quinkgl.testing.schedules import LOST, PASSES, TWICE, Fate, Schedule

_LATE_S = (0.005, 0.03, 0.2, 1.0)
"""Seconds by which a datagram is late: to be overtaken, to be taken for lost, to be asked for again."""


def fates() -> st.SearchStrategy[Fate]:
    """What becomes of one datagram; the simplest is that it passes."""
    late = st.builds(Fate, st.sampled_from([1, 2]), st.sampled_from(_LATE_S))
    return st.one_of(st.just(PASSES), st.just(PASSES), st.just(LOST), st.just(TWICE), late)


@st.composite
def schedules(draw: st.DrawFn, max_size: int = 40) -> Schedule:
    """Schedules of loss, reordering, duplication and delay for the first ``max_size`` datagrams."""
    return Schedule(tuple(draw(st.lists(fates(), max_size=max_size))))


@st.composite
def links(draw: st.DrawFn) -> Link:
    """Links of a ``VirtualNetwork``, good ones and bad ones; all carry something."""
    delay_s = draw(st.sampled_from([0.001, 0.01, 0.05, 0.3]))
    return Link(
        delay_s=delay_s,
        jitter_s=draw(st.sampled_from([0.0, delay_s / 10, delay_s])),
        loss=draw(st.sampled_from([0.0, 0.01, 0.1, 0.3])),
        duplicate=draw(st.sampled_from([0.0, 0.05, 0.5])),
        corrupt=draw(st.sampled_from([0.0, 0.01, 0.2])),
        rate=draw(st.sampled_from([None, 1e6, 5e4])),
        queue_bytes=draw(st.sampled_from([1 << 20, 20_000])),
        bursts=draw(st.none() | st.just(Bursts())),
        blackouts=draw(st.none() | st.just(Blackouts())),
    )


@st.composite
def carrier_steps(
    draw: st.DrawFn, *, max_size: int = 20, max_bytes: int = 40, reconnects: bool = True
) -> list[Step]:
    """Steps for :func:`quinkgl.testing.carriers.check_carrier`; messages have 0 to ``max_bytes`` bytes."""
    send = st.builds(Send, st.sampled_from(SIDES), st.binary(max_size=max_bytes))
    steps: list[st.SearchStrategy[Step]] = [send, st.just(Turn())]
    if reconnects:
        steps.append(st.just(Reconnect()))
    return draw(st.lists(st.one_of(steps), max_size=max_size))


__all__ = ["carrier_steps", "fates", "links", "schedules"]
