"""The index of the rules is that of the chapters, and every rule that binds has a test."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


REPORT = tool("spec_report")
MADE = REPORT.make(ROOT)


def test_the_index_is_up_to_date() -> None:
    text = (ROOT / "spec" / "requirements.toml").read_text(encoding="utf-8")
    assert REPORT.index_text(MADE.requirements) == text, "run: python tools/spec_report.py"
    index = tomllib.loads(text)
    assert index["S-012"]["norms"] == ["MUST"]
    assert index["S-012"]["text"].startswith("A responder MUST check mac1 before")
    assert len(index) >= 424


def test_every_rule_that_binds_has_a_test_or_a_reason_why_not() -> None:
    assert MADE.breaches == []


def test_four_of_five_recommendations_have_a_test() -> None:
    recommended = [rule for rule, item in MADE.requirements.items() if item.level == "SHOULD"]
    tested = [rule for rule in recommended if MADE.evidence[rule].tests]
    assert len(tested) >= 0.8 * len(recommended)
