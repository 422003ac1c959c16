"""The search for the path's MTU over a real cable; see path_mtu.py.

Needs root or user namespaces, and `ip`; without them this fails, it does not skip. `make netns` runs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns

_PROGRAM = Path(__file__).with_name("path_mtu.py")


def test_datagrams_follow_the_mtu_of_a_cable():
    process = subprocess.run(
        [sys.executable, str(_PROGRAM)], capture_output=True, text=True, timeout=90, check=False
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    print(json.dumps(found, indent=1))
    assert found["probes"]
    assert found["1500"]["datagram_bytes"] == 1452
    assert found["1500"]["black_holes"] == 0
    assert found["lowered to 1300"]["datagram_bytes"] == 1200
    assert found["lowered to 1300"]["black_holes"] == 1
    assert found["9000"]["datagram_bytes"] == 8952
