"""Children of the demo: heard, reported by name when they die, and never left behind."""

from __future__ import annotations

import os
import sys

import pytest
import trio

from quinkgl_trio.demo.processes import ChildDied, run_child

_SLEEPER = 'import os, time; print(\'{"event": "up", "pid": %d}\' % os.getpid(), flush=True); time.sleep(60)'
_STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + _SLEEPER


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def python(code):
    return [sys.executable, "-c", code]


async def test_each_line_is_one_event_and_the_log_keeps_standard_error(tmp_path):
    events, log = [], tmp_path / "log"
    code = "import sys; print('{\"event\": 1}'); print('{\"event\": 2}'); print('careful', file=sys.stderr)"
    with trio.fail_after(60):
        log = tmp_path / "log"
        await run_child(
            "peer-1", python(code), log=log, on_event=lambda child, e: events.append((child.name, e))
        )
    assert events == [("peer-1", {"event": 1}), ("peer-1", {"event": 2})]
    assert log.read_text() == "careful\n"


async def test_a_child_that_fails_is_reported_by_name_with_its_last_line(tmp_path):
    code = "import sys; print('first', file=sys.stderr); print('disk full', file=sys.stderr); sys.exit(3)"
    with trio.fail_after(60), pytest.raises(ChildDied, match=r"peer-7 died \(exit code 3\): disk full"):
        await run_child("peer-7", python(code), log=tmp_path / "log", on_event=lambda *_: None)


async def test_a_killed_child_is_reported_with_the_signal(tmp_path):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with trio.fail_after(60), pytest.raises(ChildDied, match="killed by SIGKILL"):
        await run_child("peer-2", python(code), log=tmp_path / "log", on_event=lambda *_: None)


@pytest.mark.parametrize("code", [_SLEEPER, _STUBBORN], ids=["obedient", "stubborn"])
async def test_cancelling_ends_and_reaps_the_child_even_a_stubborn_one(tmp_path, code):
    pids = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:

            def on_event(_child, event):
                pids.append(event["pid"])
                nursery.cancel_scope.cancel()

            async def run():
                await run_child(
                    "peer-3", python(code), log=tmp_path / "log", on_event=on_event, stop_after_s=0.3
                )

            nursery.start_soon(run)
    assert len(pids) == 1
    assert not is_running(pids[0])


async def test_what_is_no_json_is_kept_for_the_report(tmp_path):
    with (
        trio.fail_after(60),
        pytest.raises(ChildDied, match="not a JSON object on standard output: b'hello'"),
    ):
        await run_child(
            "peer-4", python("print('hello'); exit(1)"), log=tmp_path / "log", on_event=lambda *_: None
        )
