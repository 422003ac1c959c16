"""Write the tables of the specification and of the reference pages from the data files under `spec/`.

A page marks each table with two comment lines, `<!-- table: NAME -->` and `<!-- end -->`; what stands between
them is made here. `<!-- table: machine NAME -->` marks those of a state machine, `spec/machines/NAME.toml`.
Without arguments the pages are rewritten; with `--check` they are only compared, and the exit code is 1 where
one differs.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "spec"
PAGES = (SPEC, ROOT / "docs")

Entries = dict[str, dict[str, Any]]

LIMIT_GROUPS: dict[str, tuple[str, ...]] = {
    "Datagrams and handshake": (
        "max_datagram_bytes",
        "init_min_datagram_bytes",
        "unvalidated_factor",
        "half_open",
        "half_open_lifetime_s",
        "half_open_per_prefix",
        "init_rate_per_prefix_per_s",
        "init_rate_total_per_s",
        "stateless_answers",
        "version_negotiations_per_s",
        "handshake_retries",
        "handshake_timeout_s",
        "handshake_payload_bytes",
        "connections",
    ),
    "Sessions": (
        "idle_timeout_s",
        "keepalive_s",
        "close_timeout_s",
        "replay_window",
        "connection_ids",
        "reset_rate_per_s",
        "paths_per_connection",
        "ack_ranges",
        "max_ack_delay_s",
        "control_window_bytes",
        "control_message_bytes",
        "reason_bytes",
    ),
    "Encoding": ("cbor_depth", "cbor_items", "text_bytes"),
    "Objects": (
        "object_bytes",
        "leaf_bytes",
        "transfers_in_per_peer",
        "transfers_out_per_peer",
        "transfers_global",
        "credit_per_transfer_bytes",
        "reassembly_per_peer_bytes",
        "reassembly_global_bytes",
        "transfer_min_rate_bytes_per_s",
        "transfer_min_rate_window_s",
        "transfer_stall_s",
        "partial_keep_s",
        "partials",
        "want_ranges",
        "offers_queued",
        "unsolicited_bytes",
        "header_bytes",
    ),
    "Manifest handshake": (
        "manifest_handshake_timeout_s",
        "manifest_bytes",
        "manifest_fetch_timeout_s",
        "manifest_fetches",
        "manifest_fetch_interval_s",
    ),
    "Fingerprints": ("fingerprint_bytes", "fingerprint_requests_per_hour", "fingerprint_timeout_s"),
    "Membership": (
        "view_size",
        "shuffle_length",
        "shuffle_interval_s",
        "records_interval_s",
        "records_burst",
        "record_bytes",
        "record_ttl_s",
        "record_addresses",
        "record_vouchers",
        "clock_skew_s",
    ),
    "Gossip": (
        "round_ahead",
        "round_stale",
        "seen_roots",
        "offer_interval_s",
        "offer_burst",
        "authors",
        "equivocation_proofs",
        "update_objects",
        "scores",
        "score_most",
        "score_limited",
        "score_refused",
        "score_half_life_s",
        "score_keep_s",
        "proofs_burst",
        "proofs_interval_s",
    ),
    "Two-sided exchanges": (
        "exchanges",
        "exchanges_per_peer",
        "exchange_lateness",
        "exchange_retry_s",
    ),
    "Aggregation": ("weight_cap",),
    "Machines": ("events",),
}
"""Limits that the chapters use, by what they bound; all others stand under `WAITING`."""

WAITING = "Waiting for their chapter"

LOCAL_RANGE = range(0x00E0, 0x0100)


def load(name: str) -> Entries:
    """Read one data file below `spec/`."""
    return tomllib.loads((SPEC / f"{name}.toml").read_text(encoding="utf-8"))


def limit_groups() -> dict[str, tuple[str, ...]]:
    """Return every limit under exactly one heading; fail where the groups name one that does not exist."""
    names = list(load("limits"))
    grouped = [name for group in LIMIT_GROUPS.values() for name in group]
    unknown = sorted(set(grouped) - set(names))
    if unknown or len(set(grouped)) != len(grouped):
        raise SystemExit(f"spec_tables: limits named twice or not at all in spec/limits.toml: {unknown}")
    waiting = tuple(name for name in names if name not in grouped)
    return {**LIMIT_GROUPS, WAITING: waiting}


def row(*cells: object) -> str:
    """Make one line of a table; a bar inside a cell is escaped."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def head(*names: str) -> list[str]:
    """Make the first two lines of a table."""
    return [row(*names), "|" + "---|" * len(names)]


def number(value: Any) -> str:
    """Write a value for people: no exponent, no trailing zero, lists with commas."""
    if isinstance(value, list):
        return ", ".join(map(number, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def byte_code(entry: dict[str, Any]) -> str:
    """Write a one-byte code."""
    return f"`0x{entry['code']:02x}`"


def status(entry: dict[str, Any]) -> str:
    """Say whether an assigned code is in use."""
    return entry.get("status", "in use")


def limits() -> Iterator[str]:
    """Limits, group by group."""
    values = load("limits")
    for heading, names in limit_groups().items():
        yield f"### {heading}"
        yield ""
        yield from head("limit", "default", "least", "most", "status", "why")
        for name in names:
            entry = values[name]
            fixed = entry["status"] == "fixed"
            least = "–" if fixed else number(entry.get("min", 0))
            most = "–" if fixed else number(entry.get("max", entry["default"]))
            yield row(f"`{name}`", number(entry["default"]), least, most, entry["status"], entry["why"])
        yield ""


def constants() -> Iterator[str]:
    """Constants in the order of their file."""
    yield from head("constant", "value", "why")
    for name, entry in load("constants").items():
        value = entry["value"]
        text = f'"{value}"' if isinstance(value, str) else number(value)
        yield row(f"`{name}`", text, entry["why"])


def errors() -> Iterator[str]:
    """Error codes with their scope and reaction."""
    yield from head("code", "name", "scope", "when", "reaction")
    for name, entry in sorted(load("registries/errors").items(), key=lambda item: item[1]["code"]):
        yield row(f"`0x{entry['code']:04x}`", f"`{name}`", entry["scope"], entry["when"], entry["reaction"])


def packets() -> Iterator[str]:
    """Packet types."""
    yield from head("type", "form", "code", "status", "what")
    for name, entry in load("registries/packets").items():
        yield row(name, entry["form"], byte_code(entry), status(entry), entry["what"])


def frames() -> Iterator[str]:
    """Frame types."""
    yield from head("type", "code", "layout after the type", "asks for an ACK", "in flight", "status")
    for name, entry in load("registries/frames").items():
        layout = entry["layout"].removeprefix("type alone") or "nothing"
        asks, counts = ("yes" if entry[key] else "no" for key in ("ack_eliciting", "congestion_controlled"))
        yield row(name, byte_code(entry), layout, asks, counts, status(entry))


def channels() -> Iterator[str]:
    """Channels of the CONTROL stream."""
    yield from head("channel", "code", "status", "what")
    for name, entry in load("registries/channels").items():
        yield row(name, byte_code(entry), status(entry), entry["what"])


UNDEFINED = ("ignored", "refused", "impossible")
"""What a machine may say of an event of which a state has no transition."""


def machine(name: str) -> Iterator[str]:
    """Tables of one state machine: its states, its events, and what each event does in each state."""
    entry = load(f"machines/{name}")
    yield from head("state", "meaning", "begins with")
    for state, meaning in entry["states"].items():
        yield row(f"**{state}**", meaning, entry["begins"].get(state, ""))
    yield ""
    yield from head("event", "what is observed")
    for event, what in entry["events"].items():
        yield row(event, what)
    yield ""
    yield from {"grid": machine_grid, "list": machine_list}[entry["form"]](entry)


def machine_grid(entry: dict[str, Any]) -> Iterator[str]:
    """A row for each state and a column for each event: actions, then the next state."""
    yield from head("state", *entry["events"])
    for state, cells in entry["transitions"].items():
        yield row(f"**{state}**", *(machine_cell(cells.get(event)) for event in entry["events"]))


def machine_cell(cell: dict[str, Any] | None) -> str:
    """One cell of a grid; a dash for an event that is ignored."""
    if cell is None:
        return "–"
    actions = ", ".join(cell.get("do", ()))
    return f"{actions} → {cell['next']}" if actions else str(cell["next"])


def machine_list(entry: dict[str, Any]) -> Iterator[str]:
    """A row for each transition, and one for the events of a state that have none."""
    yield from head("state", "event", "next", "action", "rules")
    for state, cells in entry["transitions"].items():
        for event in entry["events"]:
            if event in cells:
                cell = cells[event]
                actions, rules = "; ".join(cell.get("do", ())), ", ".join(cell.get("rules", ()))
                yield row(f"**{state}**", event, cell["next"], actions, rules)
        for kind in UNDEFINED:
            if cells.get(kind):
                why = f"{kind}: {entry['otherwise'][kind]}"
                yield row(f"**{state}**", ", ".join(cells[kind]), "–", why, "")


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "limits": limits,
    "constants": constants,
    "errors": errors,
    "packets": packets,
    "frames": frames,
    "channels": channels,
}

MARK = re.compile(
    r"(?P<begin><!-- table: (?P<machine>machine )?(?P<name>[a-z-]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)


def render(text: str) -> str:
    """Return a page with all of its tables made anew."""

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        lines = "\n".join(machine(name) if match["machine"] else TABLES[name]()).strip("\n")
        return f"{match['begin']}\n{lines}\n\n{match['end']}"

    return MARK.sub(fill, text)


def pages() -> list[Path]:
    """Return the pages that hold a table."""
    found = [path for folder in PAGES for path in sorted(folder.rglob("*.md"))]
    return [path for path in found if MARK.search(path.read_text(encoding="utf-8"))]


def main() -> None:
    """Rewrite or compare the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 on a difference")
    check = parser.parse_args().check
    stale = 0
    for path in pages():
        text = path.read_text(encoding="utf-8")
        made = render(text)
        if made == text:
            continue
        stale += 1
        print(f"{path.relative_to(ROOT)}: {'differs from the data files' if check else 'written'}")
        if not check:
            path.write_text(made, encoding="utf-8")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
