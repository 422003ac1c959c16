"""How long it takes until the package or its command line is there, beside a bare interpreter."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

_COMMANDS = {
    "bare": [sys.executable, "-c", "pass"],
    "import": [sys.executable, "-c", "import quinkgl"],
    "help": [str(Path(sys.executable).with_name("quinkgl")), "--help"],
}


def seconds(repeats: int) -> dict[str, float]:
    """Return the median time of each command, run in turn."""
    times: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in range(repeats):
        for name, command in _COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}
