"""The command ``quinkgl-trio``: the frame of `quinkgl.cli` with the commands of this package.

Nothing here imports Trio, NumPy or the machines: ``--help`` is as quick as that of ``quinkgl``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from quinkgl._exports import EXTRAS
from quinkgl.cli import Command, Context, run_cli
from quinkgl_trio.demo.flags import configure_demo
from quinkgl_trio.run_flags import configure_run
from quinkgl_trio.transfer_flags import configure_receive, configure_send

_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _run(context: Context) -> int:
    with _extras_explained():
        from quinkgl_trio.run_command import run

    return run(context)


def _demo(context: Context) -> int:
    # Peers share the cores as processes, not as threads, and what they are compared with computes alike.
    for name in _THREAD_VARIABLES:
        os.environ.setdefault(name, "1")
    with _extras_explained():
        from quinkgl_trio.demo.command import demo

    return demo(context)


def _send(context: Context) -> int:
    with _extras_explained():
        from quinkgl_trio.transfer_send import send

    return send(context)


def _receive(context: Context) -> int:
    with _extras_explained():
        from quinkgl_trio.transfer_receive import receive

    return receive(context)


@contextmanager
def _extras_explained() -> Iterator[None]:
    """Turn a missing package of an extra into an ImportError that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        message = f"quinkgl-trio needs {error.name!r}, which is not installed: pip install 'quinkgl[{extra}]'"
        raise ImportError(message, name=error.name) from error


COMMANDS: Final = (
    Command("run", "Run one peer: join a swarm and train with it.", configure_run, _run),
    Command(
        "demo", "Start several peers on this machine and watch them learn together.", configure_demo, _demo
    ),
    Command("send", "Offer a file to whoever gets its ticket.", configure_send, _send),
    Command("receive", "Receive the file of a ticket.", configure_receive, _receive),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``quinkgl-trio`` and return its exit code."""
    return run_cli("quinkgl-trio", COMMANDS, argv)
