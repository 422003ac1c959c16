"""Starts the two processes of a measurement and puts their clocks together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

_LIMIT_S = 300.0
SEED = 20_260_101


@dataclass(frozen=True, slots=True)
class Transfer:
    """What one transfer took: seconds from the hand-over to the last byte, CPU seconds of each side."""

    seconds: float
    cpu_send_s: float
    cpu_receive_s: float
    rss_send: int
    rss_receive: int
    whole: bool


def _environment() -> dict[str, str]:
    """Settings that make a BLAS slow on purpose do not belong into a benchmark."""
    return {key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS")}


def _start(role: str, carrier: str, options: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.worker", role, carrier, json.dumps(options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment())


def _last(process: subprocess.Popen[str], what: str) -> dict[str, Any]:
    out, _ = process.communicate(timeout=_LIMIT_S)
    if process.returncode != 0:
        raise SystemExit(f"benchmarks: {what} ended with exit code {process.returncode}")
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


def run_pair(
    carrier: str, roles: tuple[str, str], options: dict[str, Any], first_only: dict[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run both ends of a carrier; ``first_only`` are options of the listening one alone."""
    first = _start(roles[0], carrier, {**options, **(first_only or {})})
    with first:
        try:
            if first.stdout is None:
                raise SystemExit("benchmarks: no output to read")
            place = json.loads(first.stdout.readline())
            second = _start(roles[1], carrier, {**options, **place})
            with second:
                try:
                    return _last(first, f"{carrier} {roles[0]}"), _last(second, f"{carrier} {roles[1]}")
                finally:
                    second.kill()
        finally:
            first.kill()


def transfer(carrier: str, size: int, **options: Any) -> Transfer:
    """Move ``size`` bytes from one process to another (or to several members in one)."""
    receivers = {"receivers": options.pop("receivers")} if "receivers" in options else None
    received, sent = run_pair(
        carrier, ("receive", "send"), {"size": size, "seed": SEED, **options}, receivers
    )
    if not received["whole"]:
        raise SystemExit(f"benchmarks: {carrier} delivered other bytes than were sent")
    return Transfer(
        seconds=received["ended"] - sent["began"],
        cpu_send_s=sent["cpu_s"],
        cpu_receive_s=received["cpu_s"],
        rss_send=sent["rss_growth"],
        rss_receive=received["rss_growth"],
        whole=True,
    )


def round_trip(carrier: str, *, count: int, message: int) -> float:
    """Return the median time of a round trip of ``message`` bytes on an open connection, seconds."""
    _, pinged = run_pair(carrier, ("echo", "ping"), {"count": count, "message": message})
    seconds: float = pinged["round_trip_s"]
    return seconds
