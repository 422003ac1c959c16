"""The judge of the demo must notice every single miss: a verdict that cannot fail says nothing."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

_PATH = Path(__file__).parents[2] / "tools" / "acceptance_demo.py"
_SPEC = importlib.util.spec_from_file_location("acceptance_demo", _PATH)
acceptance = importlib.util.module_from_spec(_SPEC)
sys.modules["acceptance_demo"] = acceptance  # dataclasses look their own module up
_SPEC.loader.exec_module(acceptance)

_UNEVEN = acceptance.PLANS["digits"][0]
_EVEN = acceptance.PLANS["digits"][2]
_PAGE = "<!doctype html><html><head><style>p { color: red }</style></head><body>{}</body></html>"


@pytest.fixture
def report(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    path = tmp_path / "report.html"
    path.write_text(_PAGE, encoding="utf-8")
    return path


def result(report, alone=0.72, gossip=0.96, central=0.975, **changes):
    peers = [{"id": f"{n:064x}", "samples": 200, "alone": alone, "gossip": gossip} for n in range(6)]
    whole = {
        "peers": peers,
        "mean_alone": alone,
        "mean_gossip": gossip,
        "central": central,
        "rounds": 30,
        "seconds": 9.5,
        "bytes_sent": 9_000_000,
        "updates_received": 500,
        "encoded_update_bytes": 17_500,
        "report": str(report),
    }
    return whole | changes


def runs(plan, *results):
    return [
        acceptance.Run(plan, seed, 10.0, each, tuple(acceptance.check_result(plan, each)))
        for seed, each in enumerate(results)
    ]


def test_a_good_set_of_runs_passes(report):
    assert acceptance.judge(runs(_UNEVEN, result(report), result(report))) == []
    assert acceptance.judge(runs(_EVEN, result(report, alone=0.93))) == []


@pytest.mark.parametrize(
    ("plan", "changes", "miss"),
    [
        (_UNEVEN, {"alone": 0.77}, "mean gain 19.00 points (at least 20)"),
        (_UNEVEN, {"central": 0.995}, "central is 3.50 points better in the mean (at most 3)"),
        (_UNEVEN, {"gossip": 0.93, "central": 0.985}, "seed 0: central is 5.50 points better (at most 5)"),
        (_EVEN, {"alone": 0.87}, "mean gain 9.00 points (at most 8)"),
        (_UNEVEN, {"bytes_sent": 8_000_000}, "8000000 bytes sent for 8750000 bytes of updates received"),
        (_UNEVEN, {"updates_received": 0}, "9000000 bytes sent for 0 bytes of updates received"),
        (_UNEVEN, {"mean_gossip": 0.97}, "mean_gossip is 0.97, the peers' mean is 0.96"),
        (
            _UNEVEN,
            {"peers": [{"id": "0", "samples": 1, "alone": 0.72, "gossip": 0.96}]},
            "1 peers with 1 ids",
        ),
    ],
)
def test_each_miss_is_named(report, plan, changes, miss):
    misses = acceptance.judge(runs(plan, result(report, **changes)))
    assert any(miss in found for found in misses), misses


def test_a_mean_over_seeds_is_a_mean_and_a_single_bound_is_single(report):
    uneven = runs(_UNEVEN, result(report, central=0.992), result(report, central=0.985))
    assert acceptance.judge(uneven) == []  # 3.2 and 2.5: the mean keeps to 3, and no single one is over 5


def test_a_worst_peer_far_below_the_mean_is_a_miss(report):
    lame = result(report)
    lame["peers"][3]["gossip"] -= 0.06
    lame["mean_gossip"] -= 0.01
    assert acceptance.judge(runs(_UNEVEN, lame)) == ["seed 0: worst peer 5.00 below the mean (at most 4)"]


def test_a_run_that_failed_is_a_miss_and_does_not_stop_the_judgement(report):
    broken = acceptance.Run(_UNEVEN, 1, 3.0, None, ("exit code 6: nobody answered",))
    misses = acceptance.judge([*runs(_UNEVEN, result(report)), broken])
    assert misses == ["seed 1: exit code 6: nobody answered"]


@pytest.mark.parametrize(
    ("stdout", "fault"),
    [
        ("", "nothing on standard output"),
        ("peer 1 is up\n{}\n", "a line of standard output is not JSON: 'peer 1 is up'"),
        ("[1]\n", "the last line is no JSON object"),
        ('{"peers": []}\n', "the last line lacks bytes_sent, central"),
    ],
)
def test_an_output_that_breaks_its_promise_is_no_result(stdout, fault):
    found, faults = acceptance.read_result(stdout)
    assert found is None
    assert faults[0].startswith(fault)


def test_a_peer_without_its_figures_is_no_result(report):
    short = result(report)
    del short["peers"][2]["samples"]
    assert acceptance.read_result(json.dumps(short)) == (None, ["a peer of the last line lacks samples"])


@pytest.mark.parametrize(
    ("body", "target"),
    [
        ('<img src="http://example.org/a.png">', "http://example.org/a.png"),
        ('<link href="style.css" rel="stylesheet">', "style.css"),
        ('<svg><image xlink:href="https://example.org/b.svg"/></svg>', "https://example.org/b.svg"),
        ("<p style=\"background: url('//example.org/c')\">", "//example.org/c"),
        ("<style>@import 'd.css';</style>", "d.css"),
        ("<style>p { background: url(e.png) }</style>", "e.png"),
        ('<a href="mailto:someone@example.org">', "mailto:someone@example.org"),
    ],
)
def test_whatever_a_browser_would_fetch_is_found(body, target):
    assert acceptance.references(_PAGE.replace("{}", body)) == [target]


def test_what_the_document_brings_itself_is_no_reference():
    own = (
        '<svg xmlns="http://www.w3.org/2000/svg"><use href="#a"/></svg><img src="data:image/png;base64,AAAA">'
    )
    assert acceptance.references(_PAGE.replace("{}", own)) == []


def test_a_missing_or_partial_report_is_a_fault(tmp_path, report):
    assert acceptance.check_report(report) == []
    assert "cannot be read" in acceptance.check_report(tmp_path / "none.html")[0]
    report.write_text("<p>half", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"not a picture")
    assert acceptance.check_report(report) == [
        "the report is no whole HTML document",
        "no PNG beside the report",
    ]
