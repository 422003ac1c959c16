"""Lets the tests import the wire tap beside them: tests are no package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def relay_module():
    path = Path(__file__).with_name("relay.py")
    spec = importlib.util.spec_from_file_location("hostile_relay", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
