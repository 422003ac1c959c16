"""The flags of ``quinkgl-trio run``. Imports nothing heavy: this runs at every start, for ``--help`` too."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

MODELS = ("softmax", "mlp", "torch")


def configure_run(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``run``."""
    _add_swarm(parser)
    _add_network(parser)
    _add_data(parser)
    _add_model(parser)
    _add_rounds(parser)
    _add_state(parser)


def _add_swarm(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("swarm: a manifest, or the flags that make one")
    group.add_argument(
        "--manifest", metavar="FILE|LINK", help="the swarm's .qgl file, or a quinkgl:? link to fetch it by"
    )
    group.add_argument("--swarm-id", metavar="HEX", help="fetch the manifest of this swarm from a --peer")
    group.add_argument(
        "--trusted-pubkey",
        action="append",
        metavar="ed25519:HEX",
        help="take only a manifest that this creator has signed (repeatable)",
    )
    group.add_argument(
        "--swarm", metavar="NAME", help="name of the swarm, without --manifest (default: quinkgl)"
    )
    group.add_argument("--aggregation", metavar="NAME", help="without --manifest (default: FedAvg)")
    group.add_argument("--aggregation-param", action="append", type=parameter, metavar="KEY=VALUE")
    group.add_argument("--topology", metavar="NAME", help="without --manifest (default: Random)")
    group.add_argument("--topology-param", action="append", type=parameter, metavar="KEY=VALUE")


def _add_network(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument(
        "--listen",
        default="0.0.0.0:0",
        metavar="HOST:PORT",
        help="UDP address to bind (default: %(default)s)",
    )
    group.add_argument(
        "--advertise", action="append", metavar="HOST:PORT", help="address that others reach this peer at"
    )
    group.add_argument(
        "--peer", action="append", metavar="[PEER_ID@]HOST:PORT", help="a peer to meet first (repeatable)"
    )
    group.add_argument("--join-secret-file", type=Path, metavar="FILE", help="secret of a private swarm")
    group.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="this peer's Ed25519 key, PEM; made (mode 0600) if it does not exist",
    )
    add_keylog(group)
    group.add_argument(
        "--min-peers",
        type=natural,
        default=1,
        metavar="N",
        help="to meet before the first round (default: 1)",
    )
    group.add_argument(
        "--join-timeout",
        type=positive,
        metavar="SECONDS",
        help="for meeting them (default: 30, or without --peer as long as it takes)",
    )
    group.add_argument("--alone-ok", action="store_true", help="train alone when they are not met in time")


def add_keylog(parser: argparse._ActionsContainer) -> None:
    """Add the flag for those who look into captured packets."""
    parser.add_argument(
        "--keylog",
        type=Path,
        metavar="FILE",
        help="append the keys of all sessions, so that captured packets can be read (see the reference)",
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        metavar="FILE|digits|DIR",
        help="training data: .npz, .csv, the bundled digits, or IDX files",
    )
    group.add_argument(
        "--test-data",
        metavar="FILE|DIR",
        help="data to evaluate on (default: a share of --data)",
    )
    group.add_argument(
        "--test-fraction", type=share, default=0.25, metavar="F", help="that share (default: 0.25)"
    )
    group.add_argument(
        "--classes", type=counting, metavar="N", help="classes there are, where a file may lack the last ones"
    )
    group.add_argument(
        "--shard", type=shard, metavar="I/N", help="use part I of N of the training data, 1 to N"
    )
    group.add_argument(
        "--alpha", type=positive, metavar="A", help="with --shard: unequal parts, Dirichlet(A) by class"
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = add_training(parser, rate_help="0.5; softmax: 1.0")
    group.add_argument(
        "--model",
        default="mlp",
        metavar="softmax|mlp|torch|MODULE:FUNCTION",
        help="what to train (default: mlp); torch needs quinkgl[torch]",
    )


def add_training(parser: argparse.ArgumentParser, *, rate_help: str) -> argparse._ArgumentGroup:
    """Add what ``run`` and ``demo`` have in common about training, and return the group."""
    group = parser.add_argument_group("model and training")
    group.add_argument("--hidden", type=counting, default=64, metavar="N", help="hidden units (default: 64)")
    group.add_argument("--epochs", type=counting, default=2, metavar="N", help="of a round (default: 2)")
    group.add_argument("--batch-size", type=counting, default=32, metavar="N", help="(default: 32)")
    group.add_argument(
        "--learning-rate", type=positive, metavar="X", help=f"of the first round (default: {rate_help})"
    )
    group.add_argument(
        "--schedule",
        choices=("linear", "constant"),
        default="linear",
        help="of the learning rate over the rounds (default: linear, down to zero)",
    )
    group.add_argument(
        "--seed",
        type=natural,
        default=0,
        metavar="N",
        help="for first weights and data split; the same at every peer (default: 0)",
    )
    return group


def _add_rounds(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("rounds")
    group.add_argument(
        "--rounds", type=counting, metavar="N", help="rounds in all (default: the manifest's limit, or 100)"
    )
    # Twice as fast as this peer's own rounds can be, so that peers of its kind never refuse it.
    add_gossip(group, quorum=1, min_collect_s=0.2, max_collect_s=10.0, offer_interval_s=0.1)
    group.add_argument(
        "--peer-index",
        type=natural,
        metavar="N",
        help="sets this peer's batches and choices apart from those of others (default: its id)",
    )


def add_gossip(
    group: argparse._ArgumentGroup,
    *,
    quorum: int,
    min_collect_s: float,
    max_collect_s: float,
    offer_interval_s: float,
) -> None:
    """Add what ``run`` and ``demo`` have in common about rounds."""
    group.add_argument("--fan-out", type=counting, default=3, metavar="N", help="peers sent to (default: 3)")
    group.add_argument(
        "--quorum",
        type=natural,
        default=quorum,
        metavar="N",
        help="updates to wait for in a round (default: %(default)s)",
    )
    group.add_argument(
        "--min-collect",
        type=at_least_zero,
        default=min_collect_s,
        metavar="SECONDS",
        help="least time of waiting for them (default: %(default)s)",
    )
    group.add_argument(
        "--max-collect",
        type=positive,
        default=max_collect_s,
        metavar="SECONDS",
        help="longest time (default: %(default)s)",
    )
    group.add_argument(
        "--offer-interval",
        type=at_least_zero,
        default=offer_interval_s,
        metavar="SECONDS",
        help="a peer may offer one update in this time, after a burst; 0 for no limit (default: %(default)s)",
    )


def _add_state(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("state")
    group.add_argument(
        "--checkpoint-dir", type=Path, metavar="DIR", help="where to keep what a restart needs"
    )
    group.add_argument(
        "--checkpoint-every", type=counting, default=1, metavar="N", help="rounds between two (default: 1)"
    )
    group.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    group.add_argument(
        "--stop-when-stdin-closes", action="store_true", help="end as on SIGTERM when standard input ends"
    )


# -- kinds of values; argparse shows what these say


def _number(check: Callable[[float], bool], means: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and check(value)):
            raise argparse.ArgumentTypeError(f"{text!r} is not {means}")
        return value

    return parse


positive = _number(lambda value: value > 0, "a number above 0")
at_least_zero = _number(lambda value: value >= 0, "a number from 0 up")
share = _number(lambda value: 0 < value < 1, "a number between 0 and 1")


def _integer(minimum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) >= minimum):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {minimum} up")
        return int(text)

    return parse


natural = _integer(0)
counting = _integer(1)


def shard(text: str) -> tuple[int, int]:
    """Read ``I/N``, the I-th of N parts, from 1 up."""
    part, slash, of = text.partition("/")
    if not (slash and part.isascii() and part.isdigit() and of.isascii() and of.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N")
    if not 1 <= int(part) <= int(of):
        raise argparse.ArgumentTypeError(f"{text!r}: the part must be between 1 and {of}")
    return int(part), int(of)


def parameter(text: str) -> tuple[str, int | float | bool | str]:
    """Read ``KEY=VALUE``; the value becomes an integer, a number, a truth value or text."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, {"true": True, "false": False}.get(value.lower(), value)
