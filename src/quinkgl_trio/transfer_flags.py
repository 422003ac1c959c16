"""The flags of ``quinkgl-trio send`` and ``receive``. Imports nothing heavy: this runs at every start."""

from __future__ import annotations

import argparse
from pathlib import Path

from quinkgl_trio.run_flags import add_keylog, natural, positive


def configure_send(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``send``."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what to send")
    parser.add_argument(
        "--ticket",
        metavar="TICKET",
        help="serve the object of this ticket: after a restart, or as a further holder (-: from stdin)",
    )
    parser.add_argument("--name", metavar="NAME", help="name that receivers save it under (default: FILE's)")
    parser.add_argument(
        "--receivers",
        type=natural,
        default=1,
        metavar="N",
        help="end after so many have it; 0 goes on until Ctrl-C (default: 1)",
    )
    _add_listen(parser)
    parser.add_argument(
        "--advertise", action="append", metavar="HOST:PORT", help="address that the ticket names (repeatable)"
    )
    _add_secret(parser)


def configure_receive(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``receive``."""
    parser.add_argument("ticket", metavar="TICKET", help="what send printed; - reads it from stdin")
    parser.add_argument(
        "--from",
        dest="holders",
        action="append",
        metavar="HOST:PORT",
        help="a further machine that has it (repeatable)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="file or folder to save it in (default: the name it has)",
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite a file, and begin anew over what is left of another"
    )
    parser.add_argument(
        "--timeout",
        type=positive,
        default=60.0,
        metavar="SECONDS",
        help="give up when nothing came for so long (default: %(default)g)",
    )
    _add_listen(parser)
    _add_secret(parser)


def _add_listen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen",
        default="0.0.0.0:0",
        metavar="HOST:PORT",
        help="UDP address to bind (default: %(default)s)",
    )


def _add_secret(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--secret-file",
        type=Path,
        metavar="FILE",
        help="a secret that both sides have and the ticket does not tell",
    )
    add_keylog(parser)
