"""The detector of clones finds copies, and none between the two implementations."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("clones", ROOT / "tools" / "clones.py")
clones = importlib.util.module_from_spec(_SPEC)
sys.modules["clones"] = clones  # dataclasses look their own module up
_SPEC.loader.exec_module(clones)

REF = ROOT / "spec" / "ref"

ORIGINAL = '''
def total(prices, limit):
    """Add prices up to a limit."""
    result = 0
    for price in prices:
        if price > limit:
            raise ValueError("too dear")
        result += price
    return {"sum": result, "mean": result / len(prices)}
'''
RENAMED = """
class Sums:
    @staticmethod
    def words(self, x: list[float], y: float = 3.0) -> dict:
        z: float = 17.5
        for w in self.x:
            if w > y:
                raise TypeError("a")
            z += w
        return {0: z, 1: z / f(x)}
"""
ANOTHER = '''
def total(prices, limit):
    """Add prices up to a limit."""
    if any(price > limit for price in prices):
        raise ValueError("too dear")
    result = sum(prices)
    number = len(prices)
    mean = result / number
    return {"sum": result, "mean": mean}
'''


class _Renamer(ast.NodeTransformer):
    """Gives every name, attribute and argument another name, and every constant another value of its kind."""

    def visit_Name(self, node):
        return ast.Name("x" + node.id, node.ctx)

    def visit_Attribute(self, node):
        self.generic_visit(node)
        return ast.Attribute(node.value, "y" + node.attr, node.ctx)

    def visit_arg(self, node):
        return ast.arg("z" + node.arg)

    def visit_Constant(self, node):
        return ast.Constant(f"not {node.value}" if isinstance(node.value, str) else node.value)


def tree(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "module.py").write_text(text, encoding="utf-8")
    return folder


def test_a_copy_under_other_names_is_found(tmp_path):
    ((share, one, other),) = clones.clones(tree(tmp_path / "a", ORIGINAL), tree(tmp_path / "b", RENAMED))
    assert share > clones.ALIKE
    assert (one.name, other.name) == ("total", "words")


def test_a_copy_with_one_more_statement_is_found(tmp_path):
    changed = RENAMED.replace("            z += w\n", "            z += w\n            x\n")
    assert list(clones.clones(tree(tmp_path / "a", ORIGINAL), tree(tmp_path / "b", changed)))


def test_the_same_purpose_in_other_words_is_no_clone(tmp_path):
    assert not list(clones.clones(tree(tmp_path / "a", ORIGINAL), tree(tmp_path / "b", ANOTHER)))


def test_what_is_short_is_left_out(tmp_path):
    short = "def double(x):\n    y = 2 * x\n    return y\n"
    assert not list(clones.clones(tree(tmp_path / "a", short), tree(tmp_path / "b", short)))


@pytest.mark.parametrize("path", sorted(REF.glob("*.py")), ids=lambda path: path.stem)
def test_every_function_of_the_second_implementation_would_be_found_if_it_were_copied(tmp_path, path):
    copy = ast.unparse(_Renamer().visit(ast.parse(path.read_text(encoding="utf-8"))))
    left, right = tmp_path / "a", tree(tmp_path / "b", copy)
    tree(left, path.read_text(encoding="utf-8"))
    copied = {one.line for _, one, _ in clones.clones(left, right)}
    assert copied == {shape.line for shape in clones.shapes_in(left)}


def test_the_two_implementations_share_no_function():
    shared = [f"{share:.2f} {one} = {other}" for share, one, other in clones.clones(REF, ROOT / "src")]
    assert not shared, "\n".join(shared)


def test_the_command_says_what_it_found(tmp_path, capsys, monkeypatch):
    left, right = tree(tmp_path / "a", ORIGINAL), tree(tmp_path / "b", RENAMED)
    monkeypatch.setattr(sys, "argv", ["clones.py", str(left), str(right)])
    assert clones.main() == 1
    assert "total  =  " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["clones.py", str(left), str(tmp_path / "none")])
    assert clones.main() == 0
