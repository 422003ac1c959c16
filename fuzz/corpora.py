"""The inputs that are kept: minimised corpora, a file for each harness; regressions, a file for each finding.

A corpus is a JSON list of inputs in base64, the shortest first, so that a change of it can be read in a
review. Regressions are the very bytes that were found.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent
CORPORA = ROOT / "corpora"
REGRESSIONS = ROOT / "regressions"
MAX_INPUTS = 200
MAX_BYTES = 200_000
"""Of a corpus file."""


def corpus_file(name: str) -> Path:
    """Where the corpus of a harness is."""
    return CORPORA / f"{name}.json"


def read_corpus(name: str) -> list[bytes]:
    """Return the inputs of a harness's corpus, none where there is no corpus yet."""
    path = corpus_file(name)
    if not path.exists():
        return []
    return [base64.b64decode(item) for item in json.loads(path.read_text(encoding="ascii"))]


def write_corpus(name: str, inputs: Iterable[bytes]) -> list[bytes]:
    """Write a corpus, as many of the shortest inputs as may be in one; return them."""
    kept: list[bytes] = []
    size = 4
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        size += 4 * -(-len(data) // 3) + 4
        if len(kept) == MAX_INPUTS or size > MAX_BYTES:
            break
        kept.append(data)
    CORPORA.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(base64.b64encode(data).decode("ascii")) for data in kept)
    corpus_file(name).write_text(f"[\n{lines}\n]\n", encoding="ascii")
    return kept


def read_regressions(name: str) -> dict[Path, bytes]:
    """Return the regression inputs of a harness by file."""
    folder = REGRESSIONS / name
    if not folder.exists():
        return {}
    return {path: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix == ".bin"}


def unpack_to(folder: Path, inputs: Iterable[bytes]) -> None:
    """Write inputs one by one, named by their hash, as engines want them."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (folder / hashlib.sha256(data).hexdigest()[:24]).write_bytes(data)
