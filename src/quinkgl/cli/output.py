"""Where a command's words go: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LOG_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


@dataclass(frozen=True, slots=True)
class Output:
    """The two streams of a command.

    Attributes:
        json: results are JSON, one object a line.
        quiet: nothing but results and errors.
        color: colours and cursor movement may be used on stdout.
    """

    json: bool = False
    quiet: bool = False
    color: bool = False

    def result(self, data: Mapping[str, Any], text: str) -> None:
        """Print a result: `data` as one line of JSON with `--json`, else `text`."""
        print(json_line(data) if self.json else text, flush=True)  # noqa: T201  this is where results are printed

    def note(self, text: str) -> None:
        """Tell a person something that is no result, on stderr; not with `--quiet`."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)  # noqa: T201  as above

    def warn(self, text: str) -> None:
        """Tell a person what they must know, on stderr; with `--quiet` too."""
        print(f"warning: {text}", file=sys.stderr, flush=True)  # noqa: T201  as above


def json_line(data: Mapping[str, Any]) -> str:
    """Return one object as one line of strict JSON.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
    """
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))


def color_allowed(*, no_color: bool) -> bool:
    """Whether stdout is a terminal that takes colours and nobody asked for none (https://no-color.org)."""
    if no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def start_logging(level: str, *, quiet: bool) -> None:
    """Send log records of this level and above to stderr; with `quiet`, errors alone.

    Libraries have their say from warnings up, or with everything else at level debug.
    """
    chosen = logging.ERROR if quiet else LOG_LEVELS[level]
    others = chosen if chosen <= logging.DEBUG else max(chosen, logging.WARNING)
    logging.basicConfig(level=others, format=LOG_FORMAT, stream=sys.stderr, force=True)
    for package in ("quinkgl", "quinkgl_trio", "quinkgl_ipv8"):
        logging.getLogger(package).setLevel(chosen)
