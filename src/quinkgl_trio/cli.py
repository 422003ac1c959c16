"""The command ``quinkgl-trio``: the frame of `quinkgl.cli` with the commands of this package.

Nothing here imports Trio, NumPy or the machines: ``--help`` is as quick as that of ``quinkgl``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from quinkgl.cli import Command, Context, run_cli
from quinkgl_trio.demo.flags import configure_demo
from quinkgl_trio.run_flags import configure_run

_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _run(context: Context) -> int:
    from quinkgl_trio.run_command import run

    return run(context)


def _demo(context: Context) -> int:
    # Peers share the cores as processes, not as threads, and what they are compared with computes alike.
    for name in _THREAD_VARIABLES:
        os.environ.setdefault(name, "1")
    from quinkgl_trio.demo.command import demo

    return demo(context)


COMMANDS: Final = (
    Command("run", "Run one peer: join a swarm and train with it.", configure_run, _run),
    Command(
        "demo", "Start several peers on this machine and watch them learn together.", configure_demo, _demo
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``quinkgl-trio`` and return its exit code."""
    return run_cli("quinkgl-trio", COMMANDS, argv)
