"""The coverage-guided engine, in a process of its own: it ends with the process.

``python -m fuzz.engine_atheris TARGET [libFuzzer's options and folders]``: so ``fuzz/runner.py`` calls it.
"""

from __future__ import annotations

import random
import signal
import sys
from types import FrameType

import atheris

_PLAIN_SHARE = 0.6
"""Mutations that know nothing of the structure."""
_INSTRUMENTED = ["quinkgl", "quinkgl_trio"]
_CPU_S = 30.0
"""Processor time that no batch of :data:`_BATCH` inputs takes; a machine that is busy does not count."""
_BATCH = 200


def _too_long(_number: int, _frame: FrameType | None) -> None:
    from fuzz.oracles import Finding

    raise Finding(f"an input takes more than {_CPU_S} s of processor time")


def main() -> None:
    """Fuzz one harness until the options say that it is enough."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=_INSTRUMENTED, exclude=["quinkgl.testing"]):
        from fuzz.targets import load_target

        target = load_target(name)
    from fuzz.executor import Executor
    from fuzz.oracles import counts_c_calls

    counts_c_calls(False)
    mutate = target.mutate

    def structured(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if mutate is None or rng.random() < _PLAIN_SHARE:
            return bytes(atheris.Mutate(data, max_size))
        return mutate(data, rng)[:max_size]

    executor = Executor(target)
    signal.signal(signal.SIGVTALRM, _too_long)

    def execute(data: bytes) -> None:
        if not executor.executions % _BATCH:
            signal.setitimer(signal.ITIMER_VIRTUAL, _CPU_S)
        executor(data)

    hooks = {} if mutate is None else {"custom_mutator": structured}
    atheris.Setup([sys.argv[0], f"-max_len={target.max_bytes}", *options], execute, **hooks)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
