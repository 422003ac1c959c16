"""Each example runs as a program of its own and prints what its page in the documentation says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def run(name: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_two_members_over_blocking_sockets() -> None:
    lines = run("blocking_socket.py")
    assert len(lines) == 1
    assert re.fullmatch(r"round 1: 100000 bytes from [0-9a-f]{8}", lines[0])


def test_the_driver_over_blocking_sockets_stays_short() -> None:
    assert len((EXAMPLES / "blocking_socket.py").read_text(encoding="utf-8").splitlines()) <= 60


def test_the_driver_on_the_page_is_the_one_that_runs() -> None:
    shown = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    text = (EXAMPLES / "blocking_socket.py").read_text(encoding="utf-8")
    _, _, body = text[text.index("def drive(") : text.index("def react(")].partition('"""\n')
    for line in body.splitlines():
        assert line.partition("#")[0].strip() in shown


def test_three_peers_in_virtual_time_learn_more_together() -> None:
    lines = run("swarm_in_memory.py")
    assert re.fullmatch(r"3 peers, 8 rounds, 24\.\d s of virtual time", lines[0])
    found = [re.search(r"alone (0\.\d+), together (0\.\d+)", line) for line in lines[1:]]
    results = [(float(match[1]), float(match[2])) for match in found if match]
    assert len(results) == 3
    assert all(together > alone + 0.1 for alone, together in results)
    assert max(together for _, together in results) - min(together for _, together in results) < 0.02


@pytest.mark.parametrize("carrier", ["websocket", "pipe"])
def test_gossip_over_a_carrier_of_ones_own(carrier: str) -> None:
    lines = run(f"gossip_over_{carrier}.py")
    assert len(lines) == 1
    assert re.fullmatch(r"round 1: 100000 bytes from [0-9a-f]{8}", lines[0])


def test_the_machines_over_other_carriers_use_no_transport_of_ours() -> None:
    for name in ("gossip_link.py", "gossip_over_websocket.py", "gossip_over_pipe.py"):
        text = (EXAMPLES / name).read_text(encoding="utf-8")
        assert not re.search(r"quinkgl[._](transport|swarm|trio)|quinkgl_", text), name


def test_one_seed_gives_one_run() -> None:
    assert run("swarm_in_memory.py") == run("swarm_in_memory.py")


def test_a_carrier_with_a_defect_is_found_and_its_shortest_schedule_shown() -> None:
    assert run("testing_a_carrier.py") == [
        "Stream: no fault found",
        "TakesZeroForNothing: side 1 never receives b''",
        "  side 0 sends b''",
        "KeepsTheOldQueue: side 1 receives b'', which nobody sent in this connection",
        "  side 0 sends b''",
        "  the connection breaks and is made anew",
    ]
