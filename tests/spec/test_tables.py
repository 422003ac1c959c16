"""The tables of the chapters and of the reference pages are those of the data files."""

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


TABLES = tool("spec_tables")
PAGES = TABLES.pages()


def test_the_chapters_with_tables_are_found() -> None:
    names = {path.name for path in PAGES}
    assert {"06-packets.md", "07-frames.md", "15-errors.md", "16-limits.md", "error-codes.md"} <= names


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_tables_are_up_to_date(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert TABLES.render(text) == text, "run: python tools/spec_tables.py"


def test_a_changed_table_is_noticed() -> None:
    page = SPEC / "16-limits.md"
    text = page.read_text(encoding="utf-8")
    changed = text.replace("| `replay_window` | 4096 |", "| `replay_window` | 4097 |")
    assert changed != text
    assert TABLES.render(changed) == text


def test_every_error_code_limit_and_constant_has_its_row() -> None:
    errors = (SPEC / "15-errors.md").read_text(encoding="utf-8")
    limits = (SPEC / "16-limits.md").read_text(encoding="utf-8")
    for name in TABLES.load("registries/errors"):
        assert f"| `{name}` |" in errors
    for name in [*TABLES.load("limits"), *TABLES.load("constants")]:
        assert limits.count(f"| `{name}` |") == 1


def test_limits_that_wait_for_a_chapter_are_those_that_no_code_uses() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    used = set(re.findall(r"\b(?:LIMITS|HARD|LEAST|limits|_limits)\.([a-z_0-9]+)", source))
    groups = TABLES.limit_groups()
    waiting = set(groups.pop(TABLES.WAITING))
    assert sorted(waiting & used) == [], "name them in LIMIT_GROUPS of tools/spec_tables.py"
    named = {name for names in groups.values() for name in names}
    assert sorted(named - used) == [], "take them out of LIMIT_GROUPS of tools/spec_tables.py"


def rows(text: str) -> list[list[str]]:
    """Every table row of a page, cell by cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("path", sorted(SPEC.glob("*.md")), ids=lambda path: path.name)
def test_offsets_of_byte_tables_follow_from_the_sizes(path: Path) -> None:
    """Where a table gives numbers for offset and size, the next field begins where this one ends."""
    end: int | None = None
    in_table = False
    for cells in rows(path.read_text(encoding="utf-8")):
        if cells[:2] in (["offset", "size"], ["offset", "bytes"]):
            in_table, end = True, 0
            continue
        if not in_table or set(cells[0]) <= {"-"}:
            continue
        offset, size = cells[0], cells[1]
        if not offset.isdigit():
            in_table = False
            continue
        assert end is None or int(offset) == end, f"{cells} does not begin at {end}"
        end = int(offset) + int(size) if size.isdigit() else None
