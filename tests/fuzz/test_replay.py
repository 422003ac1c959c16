"""Every input that is kept is run with everything measured; each decoder of network bytes is reached."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from fuzz.executor import replay  # noqa: E402
from fuzz.targets import load_target, target_names  # noqa: E402

from fuzz import corpora  # noqa: E402 - the harnesses lie beside the tests, in no package that is installed

NOT_DECODERS = frozenset({"mark_untrusted"})
"""Named so because what a peer sends leads there; they take no bytes."""


def inputs(name: str) -> list[bytes]:
    """Return the seeds, the corpus and the regressions of a harness."""
    target = load_target(name)
    return [
        *(data[: target.max_bytes] for data in target.seeds()),
        *corpora.read_corpus(name),
        *corpora.read_regressions(name).values(),
    ]


@pytest.mark.parametrize("name", target_names())
def test_nothing_is_found_in_the_inputs_that_are_kept(name):
    target = load_target(name)
    for path, data in corpora.read_regressions(name).items():
        replay(target, data)
        assert len(data) <= target.max_bytes, path
    kept = corpora.read_corpus(name)
    assert kept, f"python -m fuzz {name} --minimise makes its corpus"
    for data in kept:
        replay(target, data)


@pytest.mark.parametrize("name", target_names())
def test_corpora_are_small(name):
    kept = corpora.read_corpus(name)
    assert len(kept) <= corpora.MAX_INPUTS
    assert corpora.corpus_file(name).stat().st_size <= corpora.MAX_BYTES + 10
    assert kept == sorted(set(kept), key=lambda data: (len(data), data))


def test_each_regression_belongs_to_a_harness_and_is_explained():
    folders = [path for path in corpora.REGRESSIONS.iterdir() if path.is_dir()]
    assert {folder.name for folder in folders} <= set(target_names())
    readme = (corpora.REGRESSIONS / "README.md").read_text(encoding="utf-8")
    for folder in folders:
        for path in folder.iterdir():
            assert f"`{folder.name}/{path.name}`" in readme, "a line says what was found"


def decoders() -> Iterator[tuple[str, str]]:
    """Return file and name of every function of the sources that takes bytes of others."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        if "testing" in path.parts:
            continue  # aids of tests, which read what tests wrote
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.endswith("_untrusted"):
                yield str(path), node.name


def test_every_decoder_is_reached_by_the_inputs_that_are_kept():
    wanted = {(path, name) for path, name in decoders() if name not in NOT_DECODERS}
    assert len(wanted) > 80
    reached: set[tuple[str, str]] = set()

    def hook(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_name.endswith("_untrusted"):
            reached.add((frame.f_code.co_filename, frame.f_code.co_name))

    before = sys.getprofile()
    for name in reversed(target_names()):
        target = load_target(name)
        known = inputs(name)
        sys.setprofile(hook)
        try:
            for data in known:
                target.run(data)
        finally:
            sys.setprofile(before)
        if wanted <= reached:
            return
    assert not wanted - reached
