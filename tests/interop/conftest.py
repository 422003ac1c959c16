"""Puts the second implementation, the package `ref` below spec/, on the path."""

from __future__ import annotations

import sys
from pathlib import Path

SPEC = Path(__file__).resolve().parents[2] / "spec"
if str(SPEC) not in sys.path:
    sys.path.insert(0, str(SPEC))
HERE = str(Path(__file__).resolve().parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)
