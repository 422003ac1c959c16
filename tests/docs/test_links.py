"""The documentation: links lead somewhere, files that are named exist, and snippets that claim to run do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "spec").rglob("*.md")])

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:src|tests|tools|examples|spec|docs)/[\w./-]*[\w/])(?:::(\w+))?`")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
RUNNABLE = re.compile(r"^```python run\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    made: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(path), flags=re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        repeated = sum(1 for other in made if re.fullmatch(re.escape(anchor) + r"(-\d+)?", other))
        made.add(f"{anchor}-{repeated}" if repeated else anchor)
    return made


def broken_links(path: Path) -> list[str]:
    wrong: list[str] = []
    for link in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        is_page = target.suffix == ".md"
        if not target.exists() or (anchor and is_page and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_relative_link_and_anchor_exists(path: Path) -> None:
    assert broken_links(path) == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_file_and_test_that_is_named_exists(path: Path) -> None:
    for place, test in NAMED.findall(prose(path)):
        target = ROOT / place
        assert target.exists(), place
        if test:
            assert re.search(rf"^(async )?def {test}\(", target.read_text(encoding="utf-8"), re.MULTILINE), (
                test
            )


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# One\n[x](b.md) [y](b.md#two) [z](#one) [w](https://example.org/)\n", "utf-8"
    )
    assert broken_links(tmp_path / "a.md") == ["b.md", "b.md#two"]
    (tmp_path / "b.md").write_text("# One\n", "utf-8")
    assert broken_links(tmp_path / "a.md") == ["b.md#two"]
    (tmp_path / "b.md").write_text("# One\n## Two\n", "utf-8")
    assert broken_links(tmp_path / "a.md") == []


SNIPPETS = [
    pytest.param(code, id=f"{name(path)}-{index}")
    for path in PAGES
    for index, code in enumerate(RUNNABLE.findall(path.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippets_that_are_marked_as_runnable_run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_pages_with_runnable_snippets_are_found() -> None:
    assert len(SNIPPETS) >= 4


def test_pages_end_somewhere() -> None:
    """Every page under docs/ can be reached from its index."""
    seen: set[Path] = set()
    waiting = [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        for link in LINK.findall(prose(page)):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_file():
                waiting.append(target)
    assert sorted(name(path) for path in (ROOT / "docs").rglob("*.md") if path not in seen) == []
