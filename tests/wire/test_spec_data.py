"""Where the specification's data come from, and what every registry promises."""

from __future__ import annotations

import runpy
import shutil
import tomllib
from pathlib import Path

import pytest

from quinkgl.wire import spec_data

SPEC = spec_data.spec_directory()
CODED = ["errors", "frames", "packets", "channels", "codecs"]


def test_each_call_reads_afresh():
    first = spec_data.load("registries/channels")
    first.clear()
    assert spec_data.load("registries/channels")["objects"]["code"] == 0


def test_a_missing_file_says_which():
    with pytest.raises(ImportError, match=r"registries/nothing\.toml"):
        spec_data.load("registries/nothing")


def test_an_installed_package_reads_its_own_copy(tmp_path):
    """The wheel carries the data files beside the code; they win over a checkout's."""
    package = tmp_path / "site" / "quinkgl"
    (package / "wire").mkdir(parents=True)
    shutil.copy(spec_data.__file__, package / "wire" / "spec_data.py")
    namespace = runpy.run_path(str(package / "wire" / "spec_data.py"))
    assert namespace["spec_directory"]() == tmp_path / "spec"
    (package / "_spec").mkdir()
    (package / "_spec" / "limits.toml").write_text("[one]\ndefault = 1\n")
    assert namespace["spec_directory"]() == package / "_spec"
    assert namespace["load"]("limits") == {"one": {"default": 1}}


@pytest.mark.parametrize("path", sorted(SPEC.rglob("*.toml")), ids=lambda path: path.stem)
def test_every_data_file_loads_and_is_not_empty(path: Path):
    name = path.relative_to(SPEC).with_suffix("").as_posix()
    data = spec_data.load(name)
    assert data == tomllib.loads(path.read_text(encoding="utf-8"))
    assert data


@pytest.mark.req("W-021")
@pytest.mark.parametrize("name", CODED)
def test_codes_are_unique_and_never_grease(name):
    entries = spec_data.load(f"registries/{name}")
    codes = [(entry.get("form"), entry["code"]) for entry in entries.values()]
    assert len(set(codes)) == len(codes)
    assert not [code for _, code in codes if code >= 0x1B and (code - 0x1B) % 0x1F == 0]


@pytest.mark.req("W-020")
@pytest.mark.parametrize("name", ["frames", "packets", "channels"])
def test_codes_of_one_byte_that_are_sent_are_standard(name):
    """Everything that a node sends is looked up here: nothing provisional, experimental or private is."""
    assert all(entry["code"] <= 0x3F for entry in spec_data.load(f"registries/{name}").values())


@pytest.mark.req("R-001", "Q-015")
def test_what_is_in_flight_asks_for_an_ack_and_has_to_do_with_the_current_path():
    """What asks for no ACK is never tracked, and a lost challenge is no sign of congestion."""
    frames = spec_data.load("registries/frames")
    apart = {"PATH_CHALLENGE", "PATH_RESPONSE"}
    in_flight = {name for name, entry in frames.items() if entry["congestion_controlled"]}
    assert in_flight == {name for name, entry in frames.items() if entry["ack_eliciting"]} - apart


def test_domain_labels_cannot_be_confused():
    """What is signed begins with label and 0x00, so no label may contain 0x00 or be used twice."""
    domains = spec_data.load("registries/domains")
    labels = [entry["label"] for entry in domains.values()]
    assert len(set(labels)) == len(labels)
    for name, entry in domains.items():
        assert entry["label"] == f"qgl1 {name}"
        assert entry["label"].isascii()
        assert "\x00" not in entry["label"]
        assert entry["kind"] in ("signature", "derivation")
        assert entry["what"].endswith(".")
