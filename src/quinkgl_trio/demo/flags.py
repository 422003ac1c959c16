"""The flags of ``quinkgl-trio demo``. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from quinkgl_trio.run_flags import MODELS, add_gossip, add_training, counting, positive


def configure_demo(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``demo``."""
    group = parser.add_argument_group("demo")
    group.add_argument(
        "--peers", type=counting, default=6, metavar="N", help="processes to start (default: 6)"
    )
    group.add_argument(
        "--rounds", type=counting, metavar="N", help="(default: 30 for digits, 60 for fashion-mnist)"
    )
    group.add_argument(
        "--alpha",
        type=positive,
        default=0.5,
        metavar="A",
        help="Dirichlet parameter of the split by class; the smaller, the less alike (default: 0.5)",
    )
    group.add_argument(
        "--dataset",
        choices=("digits", "fashion-mnist"),
        default="digits",
        help="digits is part of the package (default); fashion-mnist is read from --data-dir",
    )
    group.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder with the four IDX files (default: that of the Debian package dataset-fashion-mnist)",
    )
    group.add_argument(
        "--limit",
        type=counting,
        default=20_000,
        metavar="N",
        help="images to take of fashion-mnist, every class alike (default: %(default)s)",
    )
    group.add_argument(
        "--out",
        type=Path,
        default=Path("demo-out"),
        metavar="DIR",
        help="where shards, logs, checkpoints and the report go (default: %(default)s)",
    )
    group = add_training(parser, rate_help="by the data set")
    group.add_argument("--model", choices=MODELS, default="mlp", help="what to train (default: mlp)")
    add_gossip(
        parser.add_argument_group("rounds"),
        quorum=2,
        min_collect_s=0.2,
        max_collect_s=1.0,
        offer_interval_s=0.0,
    )
