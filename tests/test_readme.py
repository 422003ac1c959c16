"""What the README says can be typed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_manifest_example_prints_a_swarm_id():
    (example,) = (block for block in BLOCKS if "for_model" in block)
    result = subprocess.run(
        [sys.executable, "-c", example], capture_output=True, text=True, timeout=60, check=True
    )
    assert re.fullmatch(r"[0-9a-f]{64}\n", result.stdout)


def test_every_python_example_is_python():
    assert BLOCKS
    for block in BLOCKS:
        compile(block, "README.md", "exec")


def test_every_make_target_and_link_that_is_named_exists():
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    pages = {
        name: (ROOT / name).read_text(encoding="utf-8")
        for name in ("README.md", "CONTRIBUTING.md", ".ci/run")
    }
    for name, text in pages.items():
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.MULTILINE))
        assert named <= targets, name
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
