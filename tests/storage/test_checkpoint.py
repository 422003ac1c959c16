from __future__ import annotations

import hashlib
import math
import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.models import NumPyModel, TrainingConfig
from quinkgl.storage import (
    Checkpoint,
    CheckpointError,
    checkpoint_path,
    decode_checkpoint,
    encode_checkpoint,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from quinkgl.topology import PeerInfo, RandomTopology, SelectionContext

STATE = {
    "model": {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "count": np.array(7, dtype=np.int64)},
    "optimiser": [np.array([np.nan, -0.0, np.inf])],
    "rng": random.Random(1).getstate(),
    "numpy": np.random.default_rng(3).bit_generator.state,
    "name": "ünï",
    "key": b"\x00\xff",
    "none": None,
    "flags": [True, False],
    "rounds": {1: 2.5},
}


def same(left: object, right: object) -> bool:
    """Equal in value, type, dtype and, for floats, in every bit; one not-a-number is like another."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        if math.isnan(left):
            return math.isnan(right)
        return struct.pack("d", left) == struct.pack("d", right)
    return left == right


TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=8) | st.integers(-9, 9), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), TREES, max_size=4))
def test_every_tree_comes_back_as_it_was(state):
    assert same(decode_checkpoint(encode_checkpoint(Checkpoint(3, state))).state, state)


def test_arrays_generators_and_scalars_come_back_as_they_were():
    loaded = decode_checkpoint(encode_checkpoint(Checkpoint(12, STATE)))
    assert loaded.round == 12
    assert same(loaded.state, STATE)
    loaded.state["model"]["w"][0, 0] = 5.0
    generator = random.Random()
    generator.setstate(loaded.state["rng"])
    assert generator.random() == random.Random(1).random()


def test_numpy_scalars_become_plain_ones():
    state = {"loss": np.float64(0.5), "n": np.int32(3), "ok": np.bool_(True)}
    assert decode_checkpoint(encode_checkpoint(Checkpoint(0, state))).state == {
        "loss": 0.5,
        "n": 3,
        "ok": True,
    }


def nested(levels: int) -> list:
    tree: list = []
    for _ in range(levels):
        tree = [tree]
    return tree


def test_a_tree_of_the_greatest_depth_comes_back():
    state = {"deep": nested(58)}
    assert decode_checkpoint(encode_checkpoint(Checkpoint(0, state))).state == state


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"a": {"b": object()}}, "state.state.a.b is a object"),
        ({"a": [1, {2, 3}]}, "state.state.a[1] is a set"),
        ({"a": {1.5: 2}}, "state.state.a has the key 1.5"),
        ({"a": np.array(["text"])}, "state cannot be saved"),
        ({"a": nested(70)}, "levels deep"),
    ],
)
def test_what_cannot_be_held_is_refused_with_its_place(state, place):
    with pytest.raises(CheckpointError) as caught:
        encode_checkpoint(Checkpoint(0, state))
    assert place in str(caught.value)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data):
    with pytest.raises(CheckpointError):
        decode_checkpoint(data)


@given(st.data())
def test_damage_anywhere_is_noticed(data):
    content = bytearray(encode_checkpoint(Checkpoint(1, {"w": np.arange(4.0), "s": "text"})))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CheckpointError):
        decode_checkpoint(bytes(content), name="the file")


@given(st.integers(0, 300))
def test_truncation_is_noticed(length):
    content = encode_checkpoint(Checkpoint(1, {"w": np.arange(64.0)}))
    with pytest.raises(CheckpointError):
        decode_checkpoint(content[:length])


def resealed(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


def test_another_format_is_named():
    content = bytearray(encode_checkpoint(Checkpoint(1, {})))
    content[8:12] = (2).to_bytes(4, "big")
    with pytest.raises(CheckpointError, match=r"format 2.*reads format 1"):
        decode_checkpoint(bytes(content))


@pytest.mark.parametrize(
    "document",
    [
        b"\xff",  # no CBOR
        b"\x01",  # no state
        b"\xa0",  # nothing in it
        b"\xa2\x65round\x01\x65state\x82\x65array\x615",  # an array that is not there
        b"\xa2\x65round\x01\x65state\x80",  # an array of no kind
        b"\xa2\x65round\x01\x65state\xa0\x00",  # something behind it
        b"\xa2\x65round\x01\x65state\xc0\x61x",  # a date that is none
        b"\xa2\x65round\xf9\x00\x00\x65state\xa0",  # round 0.0
        b"\xa2\x65round\x01\x65state\x01",  # a number for a state
        b"\xa2\x65round\x01\x65state\xa1\x61a\xc1\x01",  # a date
        b"\xa2\x65round\x01\x65state\xa1\x61a\xd9\x01\x02\x80",  # a set
        b"\xa2\x65round\x01\x65state\xa1\xf6\x01",  # a key that we do not write
        b"\xa2\x65round\x01\x65state\xa1\x61a\xd8\x1c\x82\x64list\xd8\x1d\x00",  # a list that holds itself
        b"\x81" * 2000,  # deeper than anything we write
    ],
)
def test_a_document_that_is_not_ours_is_refused_even_with_a_good_checksum(document):
    whole = encode_checkpoint(Checkpoint(1, {}))
    head = bytearray(whole[:28])
    old = int.from_bytes(head[12:20], "big")
    head[12:20] = len(document).to_bytes(8, "big")
    with pytest.raises(CheckpointError):
        decode_checkpoint(resealed(bytes(head) + document + whole[28 + old : -32]))


def test_the_newest_are_kept_and_the_latest_is_found(tmp_path):
    folder = tmp_path / "new" / "folder"
    assert latest_checkpoint(folder) is None
    assert list_checkpoints(folder) == []
    for number in (3, 12, 7, 101):
        save_checkpoint(folder, Checkpoint(number, {"n": number}), keep=2)
    assert [path.name for path in list_checkpoints(folder)] == [
        "checkpoint-0000000012.qglc",
        "checkpoint-0000000101.qglc",
    ]
    path, newest = latest_checkpoint(folder)
    assert (path, newest.state) == (checkpoint_path(folder, 101), {"n": 101})
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_checkpoint(list_checkpoints(folder)[0]).round == 12


def test_all_are_kept_when_asked(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for number in range(5):
        save_checkpoint(tmp_path, Checkpoint(number, {}), keep=0)
    assert len(list_checkpoints(tmp_path)) == 5


def test_a_damaged_newest_is_an_error_unless_it_may_be_skipped(tmp_path):
    save_checkpoint(tmp_path, Checkpoint(1, {"n": 1}))
    newest = save_checkpoint(tmp_path, Checkpoint(2, {"n": 2}))
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"0000000002.*cut short"):
        latest_checkpoint(tmp_path)
    path, older = latest_checkpoint(tmp_path, skip_damaged=True)
    assert (path, older.round) == (checkpoint_path(tmp_path, 1), 1)


def test_no_other_checkpoint_stands_in_where_all_are_damaged(tmp_path):
    for number in (1, 2):
        save_checkpoint(tmp_path, Checkpoint(number, {})).write_bytes(b"")
    with pytest.raises(CheckpointError, match="0000000002"):
        latest_checkpoint(tmp_path, skip_damaged=True)


def test_a_checkpoint_under_the_name_of_another_round_is_refused(tmp_path):
    save_checkpoint(tmp_path, Checkpoint(1, {})).rename(checkpoint_path(tmp_path, 9))
    with pytest.raises(
        CheckpointError, match=r"0000000009.* is the checkpoint of round 1 under another name"
    ):
        latest_checkpoint(tmp_path)


def test_what_another_run_left_does_not_push_out_what_was_just_saved(tmp_path):
    for number in (50, 60, 1, 2, 3):
        save_checkpoint(tmp_path, Checkpoint(number, {}), keep=2)
    assert [int(path.name[11:21]) for path in list_checkpoints(tmp_path)] == [2, 3, 50, 60]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    half = tmp_path / f".{checkpoint_path(tmp_path, 3).name}.0123456789abcdef.tmp"
    half.write_bytes(b"QGL")
    (tmp_path / "mine.tmp").write_bytes(b"")
    save_checkpoint(tmp_path, Checkpoint(4, {}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-0000000004.qglc", "mine.tmp"]


def test_a_folder_that_cannot_be_written_is_an_error_and_changes_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        save_checkpoint(tmp_path / "file", Checkpoint(1, {}))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("interrupted_after", [1, 3])
def test_a_run_resumed_from_a_file_equals_one_that_was_never_interrupted(
    tmp_path, optimizer, interrupted_after
):
    x, y = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32), np.arange(30) % 3
    config = TrainingConfig(optimizer=optimizer, optimizer_kwargs={"weight_decay": 0.01}, learning_rate=0.1)
    others = [PeerInfo(name, "d", "s") for name in "abcdef"]

    def fresh(seed=0):
        return NumPyModel.mlp(4, 5, 3, seed=seed, peer=1), RandomTopology(seed, peer=1)

    def one_round(model, topology):
        model.fit((x, y), config)
        return topology.select(SelectionContext("me", "d", "s", others))

    model, topology = fresh()
    for number in range(1, interrupted_after + 1):
        one_round(model, topology)
        state = {"model": model.state_dict(), "topology": topology.state_dict()}
        save_checkpoint(tmp_path, Checkpoint(number, state))
    _, checkpoint = latest_checkpoint(tmp_path)
    resumed_model, resumed_topology = fresh(seed=7)
    resumed_model.load_state_dict(checkpoint.state["model"])
    resumed_topology.load_state_dict(checkpoint.state["topology"])
    for _ in range(4):
        assert one_round(resumed_model, resumed_topology) == one_round(model, topology)
    assert same(resumed_model.state_dict(), model.state_dict())


def test_a_state_that_cannot_be_saved_leaves_no_file(tmp_path):
    with pytest.raises(CheckpointError):
        save_checkpoint(tmp_path, Checkpoint(1, {"x": object()}))
    assert list(tmp_path.iterdir()) == []
