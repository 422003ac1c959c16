"""The demo's report: one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

from html import escape
from typing import Final

from quinkgl_trio.demo.charts import accuracy_chart, gain_chart, labels_chart
from quinkgl_trio.demo.results import DemoResult
from quinkgl_trio.history import format_bytes, format_percent

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #59636e; --paper: #ffffff; --card: #f6f8fa;
  --line: #d1d9e0; --gossip: #0969da; --alone: #bc4c00; --central: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --quiet: #9198a1; --paper: #0d1117;
  --card: #151b23; --line: #3d444d; --gossip: #58a6ff; --alone: #f0883e; --central: #3fb950; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 860px; padding: 2rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .25rem; }
p { margin: .4rem 0; } .quiet, figcaption { color: var(--quiet); } figcaption { font-size: .9rem; }
figure { margin: .75rem 0 0; } svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--ink); font-size: 12px; font-family: inherit; } svg .quiet { fill: var(--quiet); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .75rem;
  margin: 1.5rem 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .75rem 1rem; }
.tile b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .4rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--quiet); font-weight: 600; }
tfoot td { font-weight: 600; } code { font-size: .88em; overflow-wrap: anywhere; }
.grid { stroke: var(--line); stroke-width: 1; } .bridge { stroke: var(--line); stroke-width: 3; }
polyline { fill: none; stroke-linejoin: round; }
.peer { stroke: var(--gossip); stroke-width: 1; opacity: .35; }
.gossip { stroke: var(--gossip); stroke-width: 3; } .central { stroke: var(--central); stroke-width: 2; }
.alone { stroke: var(--alone); stroke-width: 2; stroke-dasharray: 6 5; }
.gossip-dot { fill: var(--gossip); }
.alone-dot { fill: var(--paper); stroke: var(--alone); stroke-width: 2.5; }
.cell { fill: var(--gossip); } svg .on-dark { fill: var(--paper); }
svg .gossip-text { fill: var(--gossip); } svg .alone-text { fill: var(--alone); }
svg .central-text { fill: var(--central); }
.warning { border-left: 4px solid var(--alone); background: var(--card); padding: .75rem 1rem; }
"""


def _tiles(result: DemoResult) -> str:
    tiles = [
        (format_percent(result.mean_alone), "mean accuracy alone", "alone-text"),
        (format_percent(result.mean_gossip), "mean accuracy after gossip", "gossip-text"),
        (format_percent(result.central), "one model on all data", "central-text"),
        (format_bytes(result.bytes_sent), f"sent, in {result.updates_received} updates", ""),
    ]
    return "".join(f'<div class="tile"><b>{value}</b><span>{what}</span></div>' for value, what, _ in tiles)


def _table(result: DemoResult) -> str:
    heads = ["peer", "samples", "classes", "alone", "gossip", "gain", "updates in", "sent", "seconds"]
    rows = "".join(
        f'<tr><td title="{escape(peer.peer_id)}">{escape(peer.name)}</td><td>{peer.samples}</td>'
        f"<td>{peer.classes}</td><td>{format_percent(peer.alone)}</td><td>{format_percent(peer.gossip)}</td>"
        f"<td>{100 * (peer.gossip - peer.alone):+.1f}</td><td>{peer.updates_received}</td>"
        f"<td>{format_bytes(peer.bytes_sent)}</td><td>{peer.seconds:.1f}</td></tr>"
        for peer in result.peers
    )
    gain = 100 * (result.mean_gossip - result.mean_alone)
    foot = (
        f"<tr><td>mean, sum</td><td>{sum(peer.samples for peer in result.peers)}</td><td></td>"
        f"<td>{format_percent(result.mean_alone)}</td><td>{format_percent(result.mean_gossip)}</td><td>{gain:+.1f}</td>"
        f"<td>{result.updates_received}</td><td>{format_bytes(result.bytes_sent)}</td>"
        f"<td>{result.seconds:.1f}</td></tr>"
    )
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody><tfoot>{foot}</tfoot></table>"


def _verdict(result: DemoResult) -> str:
    if result.updates_received == 0:
        return '<p class="warning">No peer received a single update: what follows is training alone.</p>'
    gap = 100 * (result.central - result.mean_gossip)
    reached, alone = format_percent(result.mean_gossip), format_percent(result.mean_alone)
    return (
        f"<p>{len(result.peers)} peers, each with its own shard and no server between them, reached "
        f"<strong>{reached}</strong> on a test set that none of them trained on. Alone, with the same steps, "
        f"they reach {alone}. One model on all the data together, which nobody here ever had, is "
        f"{abs(gap):.1f} points {'better' if gap >= 0 else 'worse'}.</p>"
    )


def render_report(result: DemoResult) -> str:
    """The whole HTML document."""
    settings = ", ".join(f"{escape(name)} {value}" for name, value in result.hyperparameters.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>QuinkGL: {len(result.peers)} peers on {escape(result.dataset)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{len(result.peers)} peers train one model on {escape(result.dataset)}, without a server</h1>
{_verdict(result)}
<div class="tiles">{_tiles(result)}</div>

<h2>Accuracy by round</h2>
<figure>{accuracy_chart(result)}
<figcaption>Thin lines are single peers, the thick one is their mean, both after each round's aggregation.
The green line is the central model after as many steps as all peers have taken together. The dashed level is
where the peers end without gossip.</figcaption></figure>

<h2>What gossip gave each peer</h2>
<figure>{gain_chart(result)}
<figcaption>Ring: alone. Dot: after gossip. Green line: the central model.</figcaption></figure>

<h2>What each peer had to learn from</h2>
<figure>{labels_chart(result)}
<figcaption>Training samples by class, split by a Dirichlet distribution with α = {result.alpha:g}: the
smaller α, the less alike the shards are.</figcaption></figure>

<h2>In figures</h2>
<div class="wide">{_table(result)}</div>
<p class="quiet">Bytes are UDP payloads. Seconds run from a peer's first round to the end of its last.</p>

<h2>How it was measured</h2>
<p>The {result.test_samples} test images were set aside first, the same share of every class, and no peer
trains on them. All models start from the same weights and take {result.rounds} rounds with the same
hyperparameters ({settings}). <em>Alone</em> takes a peer's own steps on its own shard; <em>central</em> makes
as many passes over the pooled shards, which is as many steps as all peers take together. The demo itself
evaluated the model that each peer left behind.</p>
<p>Model: {escape(result.model)} with {result.parameters} parameters; an encoded update has
{result.encoded_update_bytes} bytes. Seed {result.seed}.</p>
<p class="quiet">Swarm <code>{escape(result.swarm_id)}</code></p>
</body>
</html>
"""
