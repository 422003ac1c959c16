"""The worked examples of the chapters are what the implementation computes."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "spec"


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLES = tool("spec_examples")
SHOWN = [
    (path, match["name"], match["body"])
    for path in EXAMPLES.pages()
    for match in EXAMPLES.BLOCK.finditer(path.read_text(encoding="utf-8"))
]


def test_every_example_is_shown_once() -> None:
    assert sorted(name for _, name, _ in SHOWN) == sorted(EXAMPLES.EXAMPLES)


@pytest.mark.req("K-033", "S-001")
@pytest.mark.parametrize("path", EXAMPLES.pages(), ids=lambda path: path.name)
def test_examples_are_what_the_implementation_computes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert EXAMPLES.render(text) == text, "run: python tools/spec_examples.py"


@pytest.mark.parametrize(("path", "name", "body"), SHOWN, ids=[name for _, name, _ in SHOWN])
def test_a_changed_digit_in_an_example_is_noticed(path: Path, name: str, body: str) -> None:
    digits = [match.start() for match in re.finditer(r"(?<== )[0-9a-f]|(?<=    )[0-9a-f]", body)]
    assert digits, f"{name} of {path.name} shows no value"
    text = path.read_text(encoding="utf-8")
    for at in digits:
        wrong = body[:at] + ("1" if body[at] != "1" else "2") + body[at + 1 :]
        assert EXAMPLES.render(text.replace(body, wrong)) == text
