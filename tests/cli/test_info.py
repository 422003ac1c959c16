from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import torch

import quinkgl
from quinkgl import aggregation, topology


def info(*arguments: str) -> str:
    command = [sys.executable, "-m", "quinkgl.cli", "info", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_json_tells_versions_extras_and_the_strategies_there_are():
    data = json.loads(info("--json"))
    assert data["version"] == quinkgl.__version__
    assert (data["manifest_schema"], data["wire_version"]) == (3, 1)
    assert data["numpy"] == np.__version__
    assert data["optional"]["torch"] == torch.__version__
    assert data["optional"]["tensorflow"] is None or data["optional"]["tensorflow"]
    assert "FedAvg" in data["aggregations"]
    assert "RandomTopology" in data["topologies"]
    assert not {"AggregationStrategy", "TopologyStrategy"} & {*data["aggregations"], *data["topologies"]}
    for name in data["aggregations"]:
        assert issubclass(getattr(aggregation, name), aggregation.AggregationStrategy)
    for name in data["topologies"]:
        assert issubclass(getattr(topology, name), topology.TopologyStrategy)


def test_text_has_a_line_for_each():
    lines = info().splitlines()
    assert lines[0] == f"QuinkGL:         {quinkgl.__version__}"
    assert any(line.startswith("Aggregations:") and "FedAvg" in line for line in lines)
