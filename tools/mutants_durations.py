"""A pytest plugin that writes one line a phase of each test: its id, the phase, the outcome, the seconds."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


class Writer:
    """Writes reports as they come."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a line."""
        self._file.write(json.dumps([report.nodeid, report.when, report.outcome, report.duration]) + "\n")
        self._file.flush()


def pytest_configure(config: pytest.Config) -> None:
    """Write in the process that hears of all tests, not in its workers."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Writer(Path(os.environ["MUTANTS_DURATIONS"])), "durations-writer")
