"""The demo's picture: accuracy by round, gain by peer and label distribution in one PNG (by matplotlib)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quinkgl_trio.demo.charts import mean_curve
from quinkgl_trio.demo.results import DemoResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GOSSIP, _ALONE, _CENTRAL = "#0969da", "#bc4c00", "#1a7f37"


def draw_picture(result: DemoResult, path: Path) -> None:
    """Write the picture to ``path``.

    Raises:
        ImportError: matplotlib is not installed (``pip install 'quinkgl[plot]'``).
        OSError: ``path`` cannot be written.
    """
    from matplotlib.figure import Figure  # the object interface: no global state, no display

    figure = Figure(figsize=(15, 4.6), layout="constrained", dpi=120)
    curves, bars, labels = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
    _draw_curves(curves, result)
    _draw_bars(bars, result)
    _draw_labels(labels, result)
    figure.suptitle(
        f"{len(result.peers)} peers, {result.dataset}, Dirichlet α = {result.alpha:g}: "
        f"alone {100 * result.mean_alone:.1f} %, gossip {100 * result.mean_gossip:.1f} %, "
        f"central {100 * result.central:.1f} %"
    )
    figure.savefig(path, format="png")


def _draw_curves(axes: Axes, result: DemoResult) -> None:
    for peer in result.peers:
        percent = [100 * value for value in peer.curve]
        axes.plot(range(1, len(percent) + 1), percent, color=_GOSSIP, alpha=0.35, lw=1)
    mean = mean_curve(result.peers)
    axes.plot(range(1, len(mean) + 1), [100 * v for v in mean], color=_GOSSIP, lw=2.5, label="gossip, mean")
    central = result.central_curve
    axes.plot(range(1, len(central) + 1), [100 * v for v in central], color=_CENTRAL, lw=1.8, label="central")
    axes.axhline(100 * result.mean_alone, color=_ALONE, ls="--", lw=1.8, label="alone, mean")
    axes.set(xlabel="round", ylabel="accuracy on the common test set, %", title="Accuracy by round")
    axes.legend(loc="lower right", frameon=False)
    axes.grid(alpha=0.25)


def _draw_bars(axes: Axes, result: DemoResult) -> None:
    places = range(len(result.peers))
    alone = [100 * peer.alone for peer in result.peers]
    gossip = [100 * peer.gossip for peer in result.peers]
    axes.bar([place - 0.2 for place in places], alone, 0.4, color=_ALONE, label="alone")
    axes.bar([place + 0.2 for place in places], gossip, 0.4, color=_GOSSIP, label="gossip")
    axes.axhline(100 * result.central, color=_CENTRAL, lw=1.8, label="central")
    axes.set_xticks(list(places), [peer.name.removeprefix("peer-") for peer in result.peers])
    axes.set(xlabel="peer", ylim=(0, 118), title="Alone, after gossip, central")
    axes.legend(loc="upper center", ncols=3, frameon=False)


def _draw_labels(axes: Axes, result: DemoResult) -> None:
    left = [0] * len(result.peers)
    places = range(len(result.peers))
    colours = _class_colours(len(result.peers[0].label_counts))
    for label, colour in enumerate(colours):
        counts = [peer.label_counts[label] for peer in result.peers]
        axes.barh(places, counts, left=left, color=colour, label=str(label))
        left = [a + b for a, b in zip(left, counts, strict=True)]
    axes.set_yticks(list(places), [peer.name.removeprefix("peer-") for peer in result.peers])
    axes.invert_yaxis()
    axes.set(xlabel="training samples, by class", ylabel="peer", title="Who has what")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, title="class", fontsize="small")


def _class_colours(classes: int) -> list[tuple[float, float, float, float]]:
    from matplotlib import colormaps

    table = colormaps["tab10" if classes <= 10 else "turbo"]
    if classes <= 10:
        return [table(label) for label in range(classes)]
    return [table(label / max(1, classes - 1)) for label in range(classes)]
