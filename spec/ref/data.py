"""The data files beside the chapters: limits, constants, registries; and the one exception here."""

import tomllib
from pathlib import Path
from typing import Any

SPEC = Path(__file__).resolve().parent.parent


class SpecError(Exception):
    """A rule was broken; `code` is a name of registries/errors.toml, or "drop" where the text names none."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code
        self.why = why


def table(name: str) -> dict[str, Any]:
    """Read one data file, by its path below spec/."""
    return tomllib.loads((SPEC / name).read_text(encoding="utf-8"))


def column(name: str, key: str) -> dict[str, Any]:
    """One column of a data file: entry name to value."""
    return {entry: row[key] for entry, row in table(name).items() if key in row}


def need(condition: object, code: str, why: str) -> None:
    """Raise SpecError(code, why) unless the condition holds."""
    if not condition:
        raise SpecError(code, why)


def is_grease(code: int) -> bool:
    """Whether a code has the form 0x1b + 0x1f · k (W-021)."""
    base, step = int(CONSTANTS["grease_base"]), int(CONSTANTS["grease_step"])
    return code >= base and (code - base) % step == 0


LIMITS = column("limits.toml", "default")
CONSTANTS = column("constants.toml", "value")
ERRORS: dict[str, int] = column("registries/errors.toml", "code")
ERROR_NAMES = {code: name for name, code in ERRORS.items()}
LABELS: dict[str, bytes] = {
    name: label.encode() for name, label in column("registries/domains.toml", "label").items()
}
CHANNELS: dict[str, int] = column("registries/channels.toml", "code")
FRAMES: dict[str, int] = {
    name: row["code"]
    for name, row in table("registries/frames.toml").items()
    if row.get("status") != "reserved"
}
