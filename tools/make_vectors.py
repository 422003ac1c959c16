"""Writes `spec/vectors/*.json` and their schemas, from `spec/vectors/make/` and the second implementation.

``python tools/make_vectors.py`` rewrites the files; with ``--check`` it only compares, and exits with 1 where
a file differs from what is made now, is missing, or has no maker.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "spec"


def made() -> dict[Path, str]:
    """Return every file, by its path, as it ought to be."""
    sys.path.insert(0, str(SPEC))
    try:
        from vectors.make.all import FAMILIES
        from vectors.make.family import COMMON
    finally:
        sys.path.remove(str(SPEC))
    folder = SPEC / "vectors"
    documents = {folder / "schema" / "common.schema.json": COMMON}
    for family in FAMILIES:
        documents[folder / f"{family.name}.json"] = family.document()
        documents[folder / "schema" / f"{family.name}.schema.json"] = family.schema()
    files = {
        path: json.dumps(document, indent=1, ensure_ascii=True) + "\n" for path, document in documents.items()
    }
    known = (folder / "ids.txt").read_text(encoding="ascii").split() if (folder / "ids.txt").exists() else []
    names = {test["id"] for family in FAMILIES for test in family.tests}
    files[folder / "ids.txt"] = "".join(f"{name}\n" for name in sorted(names | set(known)))
    return files


def main() -> int:
    """Write or compare the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 on a difference")
    check = parser.parse_args().check
    files = made()
    there = {*(SPEC / "vectors").glob("*.json"), *(SPEC / "vectors" / "schema").glob("*.json")}
    stale = 0
    for path in sorted(files.keys() | there):
        text = files.get(path)
        if path.exists() and text is not None and path.read_text(encoding="ascii") == text:
            continue
        stale += 1
        what = "has no maker" if text is None else "differs from what is made now" if check else "written"
        print(f"{path.relative_to(ROOT)}: {what}")
        if not check and text is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="ascii")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
