"""Plant deep faults in a copy of the sources, one at a time, and show that simulated worlds find them.

    python tools/sim_planted.py --results build/sim-planted.jsonl

Each fault needs several things to come together: a crash between two writes, a clock that was set back, a
replayed first packet with a forged source, a key change under loss. For each, worlds are run seed after seed
until one fails; the same seed must pass without the fault. Resumable: what the results file has is not run
again. Exit code 1 where a fault was not found, or its seed fails anyway.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Fault(NamedTuple):
    """One fault: in ``file`` the text ``old``, which is there once, becomes ``new``."""

    name: str
    file: str
    old: str
    new: str
    needs: str
    """What must come together for it to show."""


FAULTS = (
    Fault(
        "an update that waits for a peer is forgotten with its session",
        "swarm/deliveries.py",
        "            self._events.append(UpdateNotDelivered(peer, outbox.waiting.publication.root, code))\n",
        "",
        "a session that ends while one update is on its way and another waits",
    ),
    Fault(
        "challenges to an unproven address are not counted",
        "transport/paths.py",
        "return self.sent_bytes + _PACKET_BYTES <= LIMITS.unvalidated_factor * self.received_bytes",
        "return self.sent_bytes >= 0",
        "a packet of a live session that comes first from a forged source",
    ),
    Fault(
        "a later life publishes under the number of the life before",
        "protocol/publisher.py",
        "self.incarnation = max(self.incarnation, incarnation + 1)",
        "self.incarnation = incarnation",
        "a crash between a publication and the checkpoint of it",
    ),
    Fault(
        "headers are compared by round alone",
        "protocol/inbox.py",
        "self.headers.setdefault(header.position, (header.root, encoded))",
        "self.headers.setdefault((0, header.round), (header.root, encoded))",
        "a peer that lost its disk and counts its rounds anew",
    ),
    Fault(
        "what leans on a checkpoint is said before it is safe",
        "protocol/exchange.py",
        "                self._emit(SaveWanted(self.mark))\n",
        "                self._emit(SaveWanted(self.mark))\n"
        "                self._apply(record, Input.SAVED)\n",
        "a crash in the milliseconds between the word and the write",
    ),
    Fault(
        "a promise to exchange does not outlive a restart",
        "protocol/exchange_record.py",
        "    Answering.DOUBT: Answering.DOUBT,\n    Answering.OVERDUE: Answering.DOUBT,\n",
        "",
        "a crash, or lost word, between the promise and the decision",
    ),
    Fault(
        "an attempt that failed is tried for ever",
        "transport/handshakes.py",
        "        self._remove_attempt(attempt)\n        self.failures.append(",
        "        self._attempt_wakeups.discard(attempt.local_id)\n        self.failures.append(",
        "a peer that was away for longer than the handshake is patient",
    ),
    Fault(
        "a receiver expects the key after the next one no more",
        "transport/key_schedule.py",
        "        self._next = self.keys.next_phase()\n        self._before",
        "        self._before",
        "two changes of keys in one session",
    ),
    Fault(
        "an update that was on its way when its session ended stays on its way",
        "swarm/sessions.py",
        "            self._gossip.peer_disconnected(event.peer, now=now)\n",
        "",
        "a session that ends in the middle of an update",
    ),
    Fault(
        "a lost piece of control is not sent again if an earlier one is missing too",
        "transport/control_stream.py",
        "        self._resend.add(max(piece.start, self._base), max(piece.stop, self._base))\n",
        "        if piece.start > self._base:\n            return\n"
        "        self._resend.add(max(piece.start, self._base), max(piece.stop, self._base))\n",
        "two pieces lost at once",
    ),
)
"""Those to be found."""


def run(source: Path, seed: int, peers: int) -> str:
    """Run one world on a tree of sources; return what failed, empty for nothing."""
    command = [sys.executable, "-m", "quinkgl.testing.sim", "--seed", str(seed), "--peers", str(peers)]
    environment = {**os.environ, "PYTHONPATH": str(source / "src")}
    done = subprocess.run(command, env=environment, cwd=source, capture_output=True, text=True, check=False)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED: ")]
    if done.returncode and not failed:
        raise RuntimeError(done.stderr)
    return failed[0].removeprefix("FAILED: ") if failed else ""


def plant(fault: Fault, into: Path) -> None:
    """Copy the sources and change them."""
    for part in ("src", "spec"):
        shutil.copytree(ROOT / part, into / part, ignore=shutil.ignore_patterns("__pycache__"))
    path = into / "src" / "quinkgl" / fault.file
    text = path.read_text(encoding="utf-8")
    if text.count(fault.old) != 1:
        raise RuntimeError(f"{fault.name}: the text to change is not there once in {fault.file}")
    path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")


def hunt(fault: Fault, seeds: int, peers: int) -> dict[str, Any]:
    """Look for a fault and return its line."""
    line: dict[str, Any] = {"fault": fault.name, "file": fault.file, "needs": fault.needs, "peers": peers}
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        plant(fault, tree)
        for seed in range(seeds):
            found = run(tree, seed, peers)
            if found:
                without = run(ROOT, seed, peers)
                return {**line, "seed": seed, "found": found, "without": without}
    return {**line, "seed": None, "found": "", "without": ""}


def main(arguments: list[str] | None = None) -> int:
    """Hunt all faults that were not hunted before, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("build/sim-planted.jsonl"))
    parser.add_argument("--seeds", type=int, default=30, help="worlds to run before a fault counts as missed")
    parser.add_argument("--peers", type=int, default=20)
    parser.add_argument("--only", type=int, action="append", help="number of a fault, from 0")
    options = parser.parse_args(arguments)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    known: dict[str, dict[str, Any]] = {}
    if options.results.exists():
        texts = options.results.read_text(encoding="utf-8").splitlines()
        known = {line["fault"]: line for line in map(json.loads, texts)}
    wanted = FAULTS if options.only is None else [FAULTS[number] for number in options.only]
    good = True
    for fault in wanted:
        if fault.name not in known:
            known[fault.name] = hunt(fault, options.seeds, options.peers)
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[fault.name]) + "\n")
        line = known[fault.name]
        verdict = f"seed {line['seed']}: {line['found']}" if line["found"] else "NOT FOUND"
        print(f"{fault.name} ({fault.file})\n    {verdict}", flush=True)
        if line["without"]:
            print(f"    and WITHOUT the fault: {line['without']}", flush=True)
        good = good and bool(line["found"]) and not line["without"]
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
