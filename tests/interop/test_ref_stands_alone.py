"""The second implementation is one of its own: it imports nothing of the library."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "spec" / "ref").glob("*.py"))
ALLOWED = {"cryptography", *sys.stdlib_module_names}


def imported(path: Path) -> set[str]:
    """The top-level packages that a module imports anywhere in it, those of its own package left out."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_only_the_standard_library_and_the_cryptographic_one(path):
    assert imported(path) <= ALLOWED


def test_an_import_of_the_library_would_be_seen(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("def f():\n    from quinkgl.wire import cbor\n", encoding="utf-8")
    assert not imported(path) <= ALLOWED


def test_it_runs_where_the_library_is_not():
    names = ", ".join(f"ref.{path.stem}" for path in MODULES if path.stem != "__init__")
    code = f"import sys, {names}; sys.exit(any(name.split('.')[0] == 'quinkgl' for name in sys.modules))"
    environment = {"PYTHONPATH": str(ROOT / "spec")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
