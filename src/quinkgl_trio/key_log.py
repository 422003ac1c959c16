"""``--keylog FILE``: the keys of this node's sessions, for people who look into captured packets."""

from __future__ import annotations

import os
from pathlib import Path

from quinkgl.cli import Output
from quinkgl.transport import KeyLog


def open_key_log(path: Path | None, output: Output) -> KeyLog | None:
    """Open the key log for appending, for as long as the process lives; None without a path.

    A new file is readable by its owner alone. What cannot be written later is said once, and the node goes
    on: a full disk must not end a session.

    Raises:
        OSError: it cannot be opened.
    """
    if path is None:
        return None
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    output.warn(f"{path}: the keys of all sessions go there; whoever has them can read what was said")
    is_broken = False

    def write(line: str) -> None:
        nonlocal is_broken
        try:
            os.write(descriptor, f"{line}\n".encode("ascii"))  # one call a line: nodes may share a file
        except OSError as error:
            if not is_broken:
                output.warn(f"{path}: {error.strerror}; keys are missing from here on")
            is_broken = True

    return write
