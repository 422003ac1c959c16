"""Judge one fault: plant it in a copy of the tree, run tests in a forked child, stop at the first that fails.

pytest, Hypothesis, NumPy and the other heavy modules are imported once, in the parent; `quinkgl` is imported
in the child alone, from the copy. The child tells the parent over a pipe which test it is at.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from mutants_faults import Fault
from mutants_map import Group

CPU_LIMIT_S = 15.0
"""CPU seconds that a test may take, at least; else ten times what it takes without a fault."""
SLOWER = 10.0
MOST_CPU_S = 120.0
SILENCE_S = 300.0
"""Wall-clock seconds after which a test that neither works nor ends is taken for one that never will."""
MEMORY_BYTES = 6 << 30
_OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "--tb=line", "--no-header")
_PLUGINS = ("pytest_trio.plugin", "_hypothesis_pytestplugin")
_NO_TESTS = 5
_SETTINGS = """

# Under a fault: the same examples each time, no search for the smallest one, nothing kept from another fault.
from hypothesis import HealthCheck, Phase  # noqa: E402

settings.register_profile(
    "mutants",
    settings.get_profile("quinkgl"),
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=(HealthCheck.too_slow,),
)
settings.load_profile("mutants")
"""


class Verdict(StrEnum):
    """What became of a fault."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    """A test that ends without the fault had no end with it: killed, too."""
    SURVIVED = "SURVIVED"
    NOT_PLANTED = "NOT PLANTED"
    """The old text is not there exactly once: the table is out of date."""
    ACCIDENT = "ACCIDENT"
    """The tests could not be run."""

    @property
    def is_kill(self) -> bool:
        """Whether a test noticed the fault."""
        return self in {Verdict.KILLED, Verdict.TIMED_OUT}


@dataclass(frozen=True)
class Outcome:
    """A verdict, the test that noticed, how many ran, how many were left by the budget, how long it took."""

    key: str
    name: str
    verdict: Verdict
    test: str = ""
    ran: int = 0
    left: int = 0
    seconds: float = 0.0
    output: str = ""

    def to_line(self, tree: str) -> str:
        """Return a line of the file of results."""
        return json.dumps({"tree": tree, **asdict(self)})


def outcome_from(row: dict[str, Any]) -> Outcome:
    """Read a line of the file of results."""
    return Outcome(**{**{k: v for k, v in row.items() if k != "tree"}, "verdict": Verdict(row["verdict"])})


def preload() -> None:
    """Import what every child needs, so that a fork inherits it."""
    for name in ("pytest", "pytest_trio.plugin", "hypothesis.stateful", "numpy", "cbor2", "trio"):
        importlib.import_module(name)
    for name in ("ciphers.aead", "asymmetric.ed25519", "asymmetric.x25519", "asymmetric.mlkem"):
        importlib.import_module(f"cryptography.hazmat.primitives.{name}")


def prepare_tree(tree: Path) -> None:
    """Give the tests of a copy Hypothesis settings that fit, and compile everything once."""
    conftest = tree / "tests" / "conftest.py"
    if conftest.exists():
        conftest.write_text(conftest.read_text(encoding="utf-8") + _SETTINGS, encoding="utf-8")


class Judge:
    """Judges faults in one copy of the tree, one after the other.

    ``seconds`` is what each test takes without a fault; ``budget_s`` bounds what is run for one fault, by
    those figures. ``sound`` are tests, or files of tests, that are known to pass without any fault.
    """

    def __init__(
        self, tree: Path, seconds: dict[str, float], budget_s: float, sound: Sequence[str] = ()
    ) -> None:
        self.tree = tree
        self._seconds = seconds
        self._budget_s = budget_s
        self._sound: set[str] = set(sound)
        self._unsound: set[str] = set()

    def judge(self, fault: Fault, groups: Sequence[Group]) -> Outcome:
        """Plant a fault, run tests until one fails, and take it out again.

        A test that fails without the fault as well proves nothing: it is set aside, and the rest run again.
        """
        start = time.monotonic()
        path = self.tree / fault.file
        source = path.read_text(encoding="utf-8")
        if not fault.fits(source):
            text = f"{fault.file} has the old text {source.count(fault.old)} times"
            return Outcome(fault.key, fault.name, Verdict.NOT_PLANTED, output=text)
        mutated = fault.plant(source)
        try:
            compile(mutated, fault.file, "exec")
        except SyntaxError as error:
            return Outcome(fault.key, fault.name, Verdict.ACCIDENT, output=f"no Python: {error}")
        while True:
            chosen, left = self._within_budget(groups)
            with _planted(path, mutated):
                verdict, test, ran, output = self._run(chosen)
            if not verdict.is_kill or self._is_sound(test):
                break
        taken = round(time.monotonic() - start, 2)
        return Outcome(fault.key, fault.name, verdict, test, ran, left, taken, output)

    def _within_budget(self, groups: Sequence[Group]) -> tuple[list[Group], int]:
        chosen: list[Group] = []
        spent, left = 0.0, 0
        for group in groups:
            kept = []
            if group.file in self._unsound:
                continue
            for test in group.tests:
                if test in self._unsound:
                    continue
                cost = self._seconds.get(test, 0.0)
                if spent + cost > self._budget_s and (chosen or kept):
                    left += 1
                else:
                    kept.append(test)
                    spent += cost
            if kept:
                chosen.append(Group(group.file, tuple(kept), 0.0))
        return chosen, left

    def _is_sound(self, test: str) -> bool:
        """Whether a test passes without any fault, in the same kind of child."""
        if test.partition("::")[0] in self._sound:
            return True
        if test not in self._sound and test not in self._unsound:
            verdict, _, ran, _ = self._run([Group(test.partition("::")[0], (test,), 0.0)])
            passes = verdict is Verdict.SURVIVED and (ran > 0 or "::" not in test)
            (self._sound if passes else self._unsound).add(test)
        return test in self._sound

    def passes(self, tests: Sequence[str]) -> tuple[bool, str]:
        """Tell whether tests pass without any fault, and what pytest said."""
        groups: dict[str, list[str]] = {}
        for test in tests:
            groups.setdefault(test.partition("::")[0], []).append(test)
        verdict, _, _, output = self._run([Group(file, tuple(own), 0.0) for file, own in groups.items()])
        return verdict is Verdict.SURVIVED, output

    # -- the child -------------------------------------------------------------------------------------------

    def _run(self, groups: Sequence[Group]) -> tuple[Verdict, str, int, str]:
        """Run groups of tests in a child: the verdict, the test that failed, how many ran, the output."""
        read, write = os.pipe()
        with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
            log = Path(scratch) / "log"
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                os.close(read)
                try:
                    self._child(groups, write, log, Path(scratch))
                finally:
                    os._exit(70)
            os.close(write)
            try:
                verdict, test, ran = _listen(read)
            finally:
                os.close(read)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        return verdict, test, ran, "\n".join(text.splitlines()[-12:])

    def _child(self, groups: Sequence[Group], pipe: int, log: Path, scratch: Path) -> None:
        os.setpgid(0, 0)
        os.chdir(self.tree)
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        sys.dont_write_bytecode = True
        sys.path[:0] = [str(self.tree / "src"), str(self.tree)]
        os.environ.update(
            PYTHONPATH=str(self.tree / "src"),
            PYTHONDONTWRITEBYTECODE="1",
            PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
            HYPOTHESIS_STORAGE_DIRECTORY=str(scratch / "hypothesis"),
            TMPDIR=str(scratch),
        )
        tempfile.tempdir = str(scratch)
        import pytest

        options = list(_OPTIONS)
        for plugin in _PLUGINS:
            options += ["-p", plugin]
        with os.fdopen(pipe, "w", encoding="utf-8", buffering=1) as told:
            for group in groups:
                reporter = _Reporter(group, told, self._seconds, self._unsound)
                code = int(pytest.main([*options, group.file], plugins=[reporter]))
                if code not in {0, _NO_TESTS}:
                    _tell(told, failed=reporter.failed or group.file, code=code)
                    os._exit(1)
            _tell(told, end=True)
            os._exit(0)


class _Reporter:
    """The plugin of the child: picks the wanted tests, limits each one's time, tells the parent."""

    def __init__(self, group: Group, told: IO[str], seconds: dict[str, float], unsound: set[str]) -> None:
        self._order = {test: position for position, test in enumerate(group.tests)}
        self._told = told
        self._seconds = seconds
        self._unsound = unsound
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Keep the wanted tests, in their order. One whose parameters are not there any more: all of them.

        A name without `::` means the file, one without parameters all the parameters.
        """
        present = {item.nodeid for item in items}
        whole = {test.partition("[")[0] for test in self._order if test not in present}
        everything = any("::" not in test for test in self._order)

        def is_wanted(node: str) -> bool:
            wanted = everything or node in self._order or node.partition("[")[0] in whole
            return wanted and node not in self._unsound

        items[:] = sorted(
            (item for item in items if is_wanted(item.nodeid)),
            key=lambda item: self._order.get(item.nodeid, len(self._order)),
        )

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Set the test's limit of CPU time, and say that it begins."""
        _tell(self._told, test=nodeid)

        def out_of_time(_signal: int, _frame: object) -> None:
            _tell(self._told, timed_out=nodeid)
            os._exit(1)

        signal.signal(signal.SIGPROF, out_of_time)
        usual_s = self._seconds.get(nodeid, 0.0)
        signal.setitimer(signal.ITIMER_PROF, max(CPU_LIMIT_S, min(SLOWER * usual_s, MOST_CPU_S)))

    def pytest_runtest_logfinish(self) -> None:
        """Take the limit away."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Remember which test failed."""
        if report.failed and not self.failed:
            self.failed = report.nodeid


def _tell(pipe: IO[str], **what: object) -> None:
    pipe.write(json.dumps(what) + "\n")
    pipe.flush()


def _listen(pipe: int) -> tuple[Verdict, str, int]:
    """Follow what a child tells until it ends; give it up where it is silent for too long."""
    ran, at, buffered = 0, "", b""
    while True:
        ready, _, _ = select.select([pipe], [], [], SILENCE_S)
        if not ready:
            return Verdict.TIMED_OUT, at, ran
        data = os.read(pipe, 65536)
        if not data:  # the child is gone without a word: by a crash of the interpreter, say
            return (Verdict.KILLED, at, ran) if at else (Verdict.ACCIDENT, "", ran)
        *rows, buffered = (buffered + data).split(b"\n")
        for row in rows:
            message = json.loads(row)
            if "test" in message:
                at, ran = message["test"], ran + 1
            elif "timed_out" in message:
                return Verdict.TIMED_OUT, message["timed_out"], ran
            elif "failed" in message:
                return (
                    (Verdict.ACCIDENT if message["code"] in {3, 4} else Verdict.KILLED),
                    message["failed"],
                    ran,
                )
            else:
                return Verdict.SURVIVED, "", ran


@contextlib.contextmanager
def _planted(path: Path, mutated: str) -> Iterator[None]:
    """Put a fault into a file for a while; its time differs, so that no compiled form is taken for it."""
    source, stat = path.read_bytes(), path.stat()
    try:
        path.write_text(mutated, encoding="utf-8")
        os.utime(path, (stat.st_atime, stat.st_mtime + 10.0))
        yield
    finally:
        path.write_bytes(source)
        os.utime(path, (stat.st_atime, stat.st_mtime))
