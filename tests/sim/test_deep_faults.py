"""Faults for whole simulated swarms to find: each still fits the sources."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_deep_fault_can_be_planted(tmp_path):
    spec = importlib.util.spec_from_file_location("sim_faults", ROOT / "tools" / "sim_faults.py")
    tool = importlib.util.module_from_spec(spec)
    sys.modules["sim_faults"] = tool
    spec.loader.exec_module(tool)
    faults = tool.read_faults()
    assert len({fault.name for fault in faults}) == len({fault.key for fault in faults}) == len(faults) >= 10
    for fault in faults:
        copy = tmp_path / fault.file
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / fault.file).read_text(encoding="utf-8")
        copy.write_text(text, encoding="utf-8")
        fault.plant(tmp_path)
        changed = copy.read_text(encoding="utf-8")
        assert changed != text
        compile(changed, fault.file, "exec")
