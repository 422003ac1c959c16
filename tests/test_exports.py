"""The package's front door: lazy, complete, and helpful where an extra is missing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import quinkgl
from quinkgl._exports import EXPORTS

HEAVY = (
    "asyncio",
    "trio",
    "torch",
    "tensorflow",
    "keras",
    "ipv8",
    "scipy",
    "aiohttp",
    "fastapi",
    "matplotlib",
)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_import_loads_no_event_loop_and_no_framework():
    result = run_python(f"import quinkgl, sys; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize("name", [name for name in quinkgl.__all__ if name != "__version__"])
def test_every_public_name_resolves(name):
    assert getattr(quinkgl, name) is not None
    assert name in dir(quinkgl)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(quinkgl.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == EXPORTS


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'NoSuchThing'"):
        _ = quinkgl.NoSuchThing


def test_a_missing_extra_is_named_with_its_install_line():
    # A finder in front of all others plays the environment in which torch is not installed.
    code = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Absent())
import quinkgl
try:
    quinkgl.PyTorchModel
except ImportError as error:
    print(type(error).__name__, error)
"""
    result = run_python(code)
    assert result.stdout.startswith("ImportError "), result.stdout + result.stderr
    assert "pip install 'quinkgl[torch]'" in result.stdout
