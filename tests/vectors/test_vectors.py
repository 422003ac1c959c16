"""The vectors of `spec/vectors/`: their form, both implementations, and whether a changed byte is noticed."""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource

from quinkgl.testing.vectors import (
    UnsupportedOperation,
    Vector,
    adapter,
    check,
    load_files,
    load_vectors,
    unnoticed,
)
from quinkgl.testing.vectors.__main__ import dialogue, main, run
from quinkgl.testing.vectors.core import difference

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "spec"
FOLDER = SPEC / "vectors"
FILES = load_files(FOLDER)
VECTORS = load_vectors(FOLDER)
WITHOUT_INVALID = {
    "hkdf": "every input is accepted",
    "cc-trace": "acknowledgements and losses that did happen; there is nothing to refuse",
    "pmtu-trace": "what an algorithm does with outcomes; there is nothing to refuse",
}
RULE = re.compile(r"\*\*\[([A-Z]-\d{3})\]\*\*")


@functools.cache
def second():
    """The second implementation's answers. Imported here, so that the first one is judged without it."""
    sys.path.insert(0, str(SPEC))
    try:
        return importlib.import_module("vectors.make.all")
    finally:
        sys.path.remove(str(SPEC))


def of(family: str) -> list[Vector]:
    return [vector for vector in VECTORS if vector.family == family]


def test_every_file_fits_its_schema():
    schemas = {path.name: json.loads(path.read_text()) for path in (FOLDER / "schema").glob("*.json")}
    registry = Registry().with_resources(
        (name, Resource.from_contents(text)) for name, text in schemas.items()
    )
    assert {f"{family}.schema.json" for family in FILES} | {"common.schema.json"} == set(schemas)
    for family, document in FILES.items():
        schema = schemas[f"{family}.schema.json"]
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.Draft202012Validator(schema, registry=registry).validate(document)
        assert (FOLDER / f"{family}.json").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda test: test.pop("comment"),
        lambda test: test.update(extra=1),
        lambda test: test.update(result="maybe"),
        lambda test: test.update(error="E_SCHEMA"),
        lambda test: test.update(req=["C2"]),
        lambda test: test["in"].update(bytes="0G"),
        lambda test: test["in"].update(bytes="A0"),
        lambda test: test["in"].update(more=1),
        lambda test: test["out"].pop("value"),
        lambda test: test["mid"].update(more=1),
    ],
)
def test_a_schema_refuses_what_is_no_test(change):
    schemas = {path.name: json.loads(path.read_text()) for path in (FOLDER / "schema").glob("*.json")}
    registry = Registry().with_resources(
        (name, Resource.from_contents(text)) for name, text in schemas.items()
    )
    validator = jsonschema.Draft202012Validator(schemas["dcbor.schema.json"], registry=registry)
    document = json.loads((FOLDER / "dcbor.json").read_text())
    validator.validate(document)
    change(document["tests"][0])
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(document)


def test_ids_are_unique_and_none_that_was_given_out_is_gone():
    ids = [vector.id for vector in VECTORS]
    assert not [name for name, count in Counter(ids).items() if count > 1]
    assert all(vector.id.startswith(f"{vector.family}-") for vector in VECTORS)
    assert sorted(ids) == (FOLDER / "ids.txt").read_text().split()


def test_rules_and_errors_that_vectors_name_exist():
    rules = set(RULE.findall("".join(path.read_text() for path in SPEC.glob("*.md"))))
    errors = set(tomllib.loads((SPEC / "registries" / "errors.toml").read_text())) | {"drop"}
    for vector in VECTORS:
        assert set(vector.test["req"]) <= rules, vector.id
        assert vector.test.get("error", "drop") in errors, vector.id
        assert vector.test["req"] or vector.family == "hkdf", vector.id


@pytest.mark.parametrize("family", FILES)
def test_at_least_half_of_a_family_is_refused(family):
    results = Counter(vector.test["result"] for vector in of(family))
    if family in WITHOUT_INVALID:
        assert not results["invalid"]
    else:
        assert results["invalid"] >= results["valid"], results


def test_the_files_are_what_their_maker_makes():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "make_vectors.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("family", FILES)
def test_this_implementation_agrees(family):
    problems = {vector.id: problem for vector in of(family) if (problem := check(adapter, vector))}
    assert not problems


@pytest.mark.parametrize("family", FILES)
def test_the_second_implementation_agrees(family):
    problems = {vector.id: problem for vector in of(family) if (problem := check(second().adapter, vector))}
    assert not problems


@pytest.mark.parametrize("family", FILES)
def test_a_change_anywhere_in_a_vector_is_noticed(family):
    """Every byte in turn; `make vectors` asks the second implementation too."""
    results = [unnoticed(adapter, vector, every=True) for vector in of(family)]
    assert all(tried for tried, _ in results)
    assert not [place for _, missed in results for place in missed]


def test_an_answer_that_ignores_its_input_is_noticed():
    vector = next(vector for vector in of("address") if vector.test["result"] == "valid")
    constant = {"mid": vector.test["mid"], "out": vector.test["out"]}
    tried, missed = unnoticed(lambda *_: constant, vector, every=True)
    assert {place.split(": ")[1] for place in missed} == {f"in.bytes[{at}]" for at in range(6)}
    assert tried > len(missed)


def test_ignored_fields_are_rare_and_exist():
    marked = [vector for vector in VECTORS if "ignored" in vector.test]
    assert len(marked) * 10 <= len(VECTORS)
    for vector in marked:
        assert vector.test["result"] == "valid"
        for place in vector.test["ignored"]:
            assert place.split("[")[0].split(".")[0] in vector.test["in"], (vector.id, place)


def test_the_dialogue_asks_another_implementation(capsys):
    answers = [json.dumps(adapter(v.family, v.test["op"], v.test["in"])) for v in of("address")]
    answers[1] = json.dumps({"error": "E_SCHEMA"})
    answers[2] = json.dumps({"error": "unsupported"})
    commands = io.StringIO()
    folder = FOLDER

    def asked(family, operation, inputs):
        if family != "address":
            return adapter(family, operation, inputs)
        return dialogue(commands, lines)(family, operation, inputs)

    lines = io.StringIO("\n".join(answers) + "\n")
    assert run(folder, asked) == 1
    shown = capsys.readouterr().out
    assert f"{of('address')[1].id}: answer has ['error']" in shown
    assert re.search(rf"^address +1 failed, 1 not supported, {len(answers) - 2} passed$", shown, re.MULTILINE)
    first = json.loads(commands.getvalue().splitlines()[0])
    assert first == {"family": "address", "op": "decode", "in": of("address")[0].test["in"]}


ANSWERER = """
import json, sys
from quinkgl.testing.vectors import adapter
for line in sys.stdin:
    asked = json.loads(line)
    answer = adapter(asked["family"], asked["op"], asked["in"])
    if asked["in"] == {"bytes": "c00002010000"}:
        answer = {"error": "E_CBOR"}
    print(json.dumps(answer), flush=True)
"""


def test_the_command_line_asks_another_program(tmp_path, capsys):
    (tmp_path / "address.json").write_text((FOLDER / "address.json").read_text())
    (tmp_path / "answerer.py").write_text(ANSWERER)
    assert main([str(tmp_path)]) == 0
    assert main([str(tmp_path), "--command", f"{sys.executable} {tmp_path / 'answerer.py'}"]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[1] == f"{'all':24}{len(of('address'))} passed"
    assert shown[2] == "address-ipv4-port-zero: error is 'E_CBOR' in place of 'E_SCHEMA'"


def test_an_operation_that_is_unknown_is_not_supported():
    with pytest.raises(UnsupportedOperation):
        adapter("address", "fly", {})


@pytest.mark.parametrize(
    ("wanted", "given", "tolerance", "place"),
    [
        ({"a": 1}, {"a": 2}, 0, "a is 2 in place of 1"),
        ({"a": 1}, {"a": 2}, 1, None),
        ({"a": 1}, {"a": True}, 0, "a is True in place of 1"),
        ({"a": [1, 2]}, {"a": [1]}, 0, "a has 1 elements in place of 2"),
        ({"a": [{"b": "x"}]}, {"a": [{"b": "y"}]}, 0, "a[0].b is 'y' in place of 'x'"),
        ({"a": 1}, {"b": 1}, 0, "answer has ['b'] in place of ['a']"),
        ({"error": "E_CBOR"}, {"mid": {}, "out": {}}, 0, "answer has ['mid', 'out'] in place of ['error']"),
        ({"a": None}, {"a": None}, 0, None),
    ],
)
def test_differences_are_told_by_place(wanted, given, tolerance, place):
    assert difference(wanted, given, tolerance) == place
