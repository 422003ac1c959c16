"""Plant one bug at a time in a copy of the tree, and demand that the default suite kills every one.

Each line of the table takes away a check that something depends on: a protection against strangers, a bound,
a recovery. It names the narrowest tests that must notice. They are run first on the tree as it is, where they
must pass, and then once for each bug, where they must fail.

    python tools/mutants.py            # all of them
    python tools/mutants.py pacing     # those whose name contains a word
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("src", "tests", "spec", "pyproject.toml")
WORKERS = 2
TIMEOUT_S = 120.0
_TESTS_FAILED = 1
"""What pytest exits with when tests ran and one of them failed; other codes are accidents."""


@dataclass(frozen=True)
class Mutant:
    """One bug: ``old`` stands in ``file`` exactly once and becomes ``new``; one of ``tests`` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


class Verdict(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    NOT_PLANTED = "NOT PLANTED"
    """The old text is not there exactly once: the table is out of date."""
    ACCIDENT = "ACCIDENT"
    """The tests could not be run."""


@dataclass(frozen=True)
class Result:
    """A verdict, how long it took, and the last lines of the test run."""

    mutant: Mutant
    verdict: Verdict
    seconds: float
    output: str


_CONNECTION = "src/quinkgl/transport/connection.py"
_HANDSHAKES = "src/quinkgl/transport/handshakes.py"
_HANDSHAKE = "src/quinkgl/transport/handshake.py"
_RECEIVER = "src/quinkgl/transport/object_receiver.py"
_UPDATE_GATE = "src/quinkgl/protocol/update_gate.py"

MUTANTS = (
    Mutant(
        "the mac1 check",
        _HANDSHAKES,
        "if not verify_mac1(self._party.keys.mac1_key, packet.mac1, *packet.authenticated):",
        "if False:",
        ("tests/transport/test_endpoint.py::test_mac1_is_checked_before_anything_is_remembered_or_computed",),
    ),
    Mutant(
        "the tag check before delivery",
        "src/quinkgl/crypto/packet_keys.py",
        """        except InvalidTag:
            return None
""",
        """        except InvalidTag:
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

            first_block = modes.CTR(_pack_nonce(packet_number) + bytes((0, 0, 0, 2)))
            return Cipher(algorithms.AES(self._key), first_block).decryptor().update(bytes(ciphertext)[:-16])
""",
        (
            "tests/transport/test_connection.py::test_a_packet_with_a_wrong_tag_has_no_effect",
            "tests/transport/test_connection.py::test_a_forged_chunk_is_not_delivered",
        ),
    ),
    Mutant(
        "the replay window",
        _CONNECTION,
        "if not self._received.is_new(number):",
        "if False:",
        ("tests/transport/test_connection.py::test_a_packet_counts_once",),
    ),
    Mutant(
        "the 3x limit",
        "src/quinkgl/transport/half_open.py",
        "        if not self.may_send:\n            return None\n",
        "",
        (
            "tests/transport/test_endpoint.py::test_an_unvalidated_address_gets_at_most_three_times_what_it_sent",
        ),
    ),
    Mutant(
        "the leaf check",
        _RECEIVER,
        "if leaf_hash(data) != self._list[leaf * HASH_BYTES : (leaf + 1) * HASH_BYTES]:",
        "if False:",
        (
            "tests/transport/test_connection.py::test_a_leaf_that_does_not_match_is_not_delivered",
            "tests/transport/test_object_receiver.py::test_a_wrong_bit_is_found_in_its_leaf",
        ),
    ),
    Mutant(
        "the check of the leaf list",
        _RECEIVER,
        "if merkle_root(leaves) != self.root:",
        "if False:",
        ("tests/transport/test_object_receiver.py::test_a_list_that_does_not_give_the_root",),
    ),
    Mutant(
        "the credit limit of transfers",
        _RECEIVER,
        "if not data or stop > self._credit:",
        "if not data or stop > self.total:",
        ("tests/transport/test_connection.py::test_bytes_beyond_the_credit_end_the_session",),
    ),
    Mutant(
        "the credit limit of the CONTROL stream",
        "src/quinkgl/transport/control_stream.py",
        "if end > self.limit:",
        "if False:",
        ("tests/transport/test_control_stream.py",),
    ),
    Mutant(
        "the PSK in the handshake",
        _HANDSHAKE,
        "psks=(psk, psk),",
        "psks=(bytes(len(psk)), bytes(len(psk))),",
        ("tests/transport/test_handshake.py::test_knowing_swarm_id_and_mac_key_does_not_replace_the_psk",),
    ),
    Mutant(
        "the identity signature",
        _HANDSHAKE,
        '    verify_untrusted(payload.peer_id, "handshake", signed, payload.signature)\n',
        "",
        (
            "tests/transport/test_endpoint.py::test_a_caller_with_a_false_identity_is_forgotten",
            "tests/transport/test_endpoint.py::test_an_answerer_with_a_false_identity_is_refused",
        ),
    ),
    Mutant(
        "the expected peer",
        _HANDSHAKE,
        "if expected_peer is not None and payload.peer_id != expected_peer:",
        "if False:",
        ("tests/transport/test_handshake.py::test_only_the_expected_peer_will_do",),
    ),
    Mutant(
        "the pacing",
        _CONNECTION,
        "        if ready > now:\n",
        "        if False:\n",
        ("tests/transport/test_connection.py::test_pacing_spreads_a_window",),
    ),
    Mutant(
        "the congestion window",
        _CONNECTION,
        "if self._recovery.bytes_in_flight + self._datagram_bytes > window:",
        "if False:",
        ("tests/transport/test_connection.py::test_probes_back_off_and_pass_window_and_pacing",),
    ),
    Mutant(
        "the probe time-out",
        "src/quinkgl/transport/recovery.py",
        "        if not self._sent:\n            return None\n",
        "        return None\n",
        (
            "tests/transport/test_connection.py::test_a_lost_tail_is_probed_for",
            "tests/transport/test_recovery.py::test_the_probe_time_out_counts_from_the_last_packet_and_doubles",
        ),
    ),
    Mutant(
        "the bound of half-open handshakes",
        _HANDSHAKES,
        "if self._is_crowded(source):",
        "if False:",
        ("tests/transport/test_endpoint.py::test_half_open_handshakes_of_one_network_are_bounded",),
    ),
    Mutant(
        "the round window: replays",
        _UPDATE_GATE,
        "if last is not None and position <= last:",
        "if False:",
        ("tests/protocol/test_gossip.py",),
    ),
    Mutant(
        "the round window: stale rounds",
        _UPDATE_GATE,
        "if -grown > limits.round_stale:",
        "if False:",
        ("tests/protocol/test_gossip.py",),
    ),
    Mutant(
        "the round window: rounds ahead",
        _UPDATE_GATE,
        "if same_session and grown > limits.round_ahead * (1 + passed):",
        "if False:",
        ("tests/protocol/test_gossip.py",),
    ),
    Mutant(
        "the signature of update headers",
        _UPDATE_GATE,
        "        verify_sign1_untrusted(envelope, DOMAIN, header.author, code=ErrorCode.E_UPD_HEADER)\n",
        "        pass\n",
        ("tests/protocol/test_gossip.py",),
    ),
    Mutant(
        "the record signature",
        "src/quinkgl/protocol/records.py",
        "        verify_sign1_untrusted(self.envelope, DOMAIN, self.record.key, code=ErrorCode.E_REC_SIG)\n",
        "",
        ("tests/protocol/test_membership.py", "tests/protocol/test_records.py"),
    ),
    Mutant(
        "the NaN gate of the tensors' decoder",
        "src/quinkgl/serialization/tensors.py",
        'if entry.dtype.kind == "f" and not allow_nonfinite and not _is_finite(array):',
        "if False:",
        ("tests/serialization/test_tensors.py",),
    ),
    Mutant(
        "the NaN gate of the admission",
        "src/quinkgl/aggregation/admission.py",
        "bad = None if policy.allow_nonfinite else first_nonfinite(weights)",
        "bad = None",
        ("tests/aggregation/test_admission.py",),
    ),
)


def copy_tree(root: Path, destination: Path, names: Sequence[str] = COPIED) -> None:
    """Copy what the tests need, without caches."""
    ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in names:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, destination / name, ignore=ignored)
        elif source.exists():
            shutil.copy2(source, destination / name)


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests of a tree against the sources of that tree; return pytest's exit code and its last lines."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=line", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, f"no end after {TIMEOUT_S} s"
    return done.returncode, "\n".join(done.stdout.splitlines()[-12:])


def judge(mutant: Mutant, tree: Path) -> Result:
    """Plant one mutant in a tree, run its tests, and take it out again."""
    start = time.monotonic()
    path = tree / mutant.file
    original = path.read_text(encoding="utf-8")
    if original.count(mutant.old) != 1:
        text = f"{mutant.file} has the old text {original.count(mutant.old)} times"
        return Result(mutant, Verdict.NOT_PLANTED, 0.0, text)
    path.write_text(original.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        code, output = run_tests(tree, mutant.tests)
    finally:
        path.write_text(original, encoding="utf-8")
    verdict = {0: Verdict.SURVIVED, _TESTS_FAILED: Verdict.KILLED}.get(code, Verdict.ACCIDENT)
    return Result(mutant, verdict, time.monotonic() - start, output)


def judge_all(mutants: Sequence[Mutant], root: Path = ROOT, names: Sequence[str] = COPIED) -> list[Result]:
    """Judge each mutant in a copy of ``root``, several at a time, and print a line for each.

    SystemExit when the tests fail without any mutant: then a failure would say nothing.
    """
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder) / f"tree{index}" for index in range(min(WORKERS, len(mutants)))]
        for tree in trees:
            tree.mkdir()
            copy_tree(root, tree, names)
        code, output = run_tests(trees[0], sorted({test for mutant in mutants for test in mutant.tests}))
        if code != 0:
            raise SystemExit(f"mutants: the tests fail without any mutant\n{output}")

        def work(index: int) -> list[Result]:
            mine = []
            for mutant in mutants[index :: len(trees)]:
                result = judge(mutant, trees[index])
                print(f"{result.verdict.value:<11} {result.seconds:5.1f} s  {mutant.name}", flush=True)
                mine.append(result)
            return mine

        with ThreadPoolExecutor(len(trees)) as pool:
            for mine in pool.map(work, range(len(trees))):
                results += mine
    return results


def main(words: Sequence[str]) -> int:
    """Judge the mutants whose name contains one of the words, all without words; return the exit code."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    if not chosen:
        print(f"mutants: no name contains {' or '.join(words)}")
        return 2
    results = judge_all(chosen)
    bad = [result for result in results if result.verdict is not Verdict.KILLED]
    for result in bad:
        print(f"\n{result.verdict.value}: {result.mutant.name} ({result.mutant.file})\n{result.output}")
    print(f"{len(results) - len(bad)} of {len(results)} killed")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
