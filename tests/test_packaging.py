"""The sdist and the wheel carry everything that the code reads, and work away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with an sdist, and a wheel that was made from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The folder of a wheel that was installed on its own, without network and without dependencies."""
    folder = tmp_path_factory.mktemp("site")
    (wheel,) = built.glob("*.whl")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*command, str(folder), str(wheel)], timeout=120, check=True)
    return folder


def test_the_wheel_has_code_spec_data_and_markers(built):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= {
        "quinkgl/__init__.py",
        "quinkgl/_spec/limits.toml",
        "quinkgl/_spec/constants.toml",
        "quinkgl/_spec/registries/errors.toml",
        "quinkgl/py.typed",
        "quinkgl_trio/py.typed",
        "quinkgl_ipv8/py.typed",
    }
    assert any(name.startswith("quinkgl/data/") and name.endswith(".npz") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert not any(name.startswith(("tests/", "spec/")) for name in names)


def test_the_sdist_has_what_is_needed_to_build_and_test(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        "spec/limits.toml",
        "src/quinkgl/__init__.py",
        "tests/test_packaging.py",
        "tests/manifest/vectors/golden.json",
        "docs/cli/index.md",
        "constraints.txt",
        "Makefile",
        "LICENSE",
        "NOTICE",
        "pyproject.toml",
    }
    assert not any(name.startswith((".venv", ".git/")) or "__pycache__" in name for name in names)


def test_an_installed_wheel_reads_its_own_spec_and_data(installed, tmp_path):
    code = """
import quinkgl, quinkgl.data
from quinkgl.wire.limits import LIMITS
digits = quinkgl.data.load_digits()
print(quinkgl.__file__)
print(LIMITS.connections > 0, digits.x.shape, digits.num_classes)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )
    assert result.returncode == 0, result.stderr
    path, facts = result.stdout.splitlines()
    assert Path(path).is_relative_to(installed)
    assert facts == "True (1797, 64) 10"


@pytest.mark.parametrize("program", ["quinkgl", "quinkgl-trio"])
def test_an_installed_wheel_has_its_programs(installed, tmp_path, program):
    result = subprocess.run(
        [str(installed / "bin" / program), "--version"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )
    assert (result.returncode, result.stdout) == (0, f"{program} 0.4.0\n"), result.stderr
