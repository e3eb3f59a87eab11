"""Event stores: whole or not at all, and never read when they are not what their manifest says."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from snn_helpers.events import store as stores
from snn_helpers.events.store import Chunk, Geometry, StoreError, open_store

PARAMS = {"source": "test", "seed": 3}
GEOMETRY = Geometry((34, 34, 2), tuple("0123456789"))
COUNTS = (3, 0, 5, 1)
LABELS = (7, 1, 0, 7)


def chunk(counts=COUNTS, labels=LABELS, seed=0):
    rng = np.random.default_rng(seed)
    total = sum(counts)
    x, y = rng.integers(0, 34, (2, total))
    return Chunk(x, y, np.arange(total) * 1_000, rng.integers(0, 2, total), np.array(counts), np.array(labels))


def ensure_store(path, params, chunks):
    return stores.ensure_store(path, params, chunks, GEOMETRY)


def never():
    raise AssertionError("built again")


def names(folder):
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.endswith(".lock"))


@pytest.fixture
def store(tmp_path):
    return ensure_store(tmp_path / "store", PARAMS, lambda: [chunk()])


def test_store_gives_back_what_was_put_in(store):
    made = chunk()
    assert len(store) == 4
    assert store.labels.tolist() == list(LABELS)
    assert store.offsets.tolist() == [0, 3, 3, 8, 9]
    for index, part in enumerate((slice(0, 3), slice(3, 3), slice(3, 8), slice(8, 9))):
        events = store.events(index)
        assert events.dtype.names == ("x", "y", "t", "p")
        for field in "xytp":
            np.testing.assert_array_equal(events[field], getattr(made, field)[part])


def test_store_joins_chunks(tmp_path):
    first, second = chunk(seed=1), chunk((2,), (4,), seed=2)
    store = ensure_store(tmp_path / "store", PARAMS, lambda: iter([first, second]))
    assert store.labels.tolist() == [*LABELS, 4]
    np.testing.assert_array_equal(store.x, np.concatenate([first.x, second.x]))
    np.testing.assert_array_equal(store.events(4)["t"], second.t)


def test_store_is_memory_mapped_and_read_only(store):
    for array in (store.x, store.y, store.t, store.p, store.offsets, store.labels):
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable


def test_manifest_says_what_the_store_holds(store):
    manifest = json.loads((store.path / "manifest.json").read_text())
    assert manifest["params"] == PARAMS
    assert (manifest["recordings"], manifest["events"]) == (4, 9)
    assert set(manifest["checksums"]) == {"x", "y", "t", "p", "offsets", "labels"}


def test_store_is_opened_not_rebuilt_when_the_params_are_the_same(store):
    again = ensure_store(store.path, dict(reversed(PARAMS.items())), never)
    np.testing.assert_array_equal(again.t, store.t)


def test_store_is_opened_not_rebuilt_when_params_hold_tuples(tmp_path):
    ensure_store(tmp_path / "store", {"camera": {"knots": (1, 2)}}, lambda: [chunk()])
    ensure_store(tmp_path / "store", {"camera": {"knots": (1, 2)}}, never)


def test_store_is_rebuilt_when_params_change(store):
    rebuilt = ensure_store(store.path, {**PARAMS, "seed": 4}, lambda: [chunk((2,), (5,))])
    assert rebuilt.labels.tolist() == [5]
    assert open_store(store.path).labels.tolist() == [5]
    assert names(store.path.parent) == ["store"]


def test_store_is_rebuilt_when_the_format_is_older(store):
    path = store.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 0}))
    assert ensure_store(store.path, PARAMS, lambda: [chunk((2,), (5,))]).labels.tolist() == [5]


def test_old_store_is_kept_when_its_rebuild_fails(store):
    def fails():
        yield chunk()
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        ensure_store(store.path, {"seed": 4}, fails)
    assert names(store.path.parent) == ["store"]
    assert open_store(store.path).manifest["params"] == PARAMS


def test_old_store_is_whole_until_the_new_one_is_in_its_place(store, monkeypatch):
    """A process killed while it removes the old store's files must not leave half of them under the store's name."""
    removed = []

    def killed(folder, **_):
        removed.append(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        ensure_store(store.path, {"seed": 4}, lambda: [chunk((2,), (5,))])
    monkeypatch.undo()
    assert removed
    assert store.path not in removed
    assert ensure_store(store.path, {"seed": 4}, lambda: [chunk((2,), (5,))]).labels.tolist() == [5]
    ensure_store(store.path, {"seed": 6}, lambda: [chunk()])
    assert names(store.path.parent) == ["store"]


@pytest.mark.parametrize("array", ["x", "y", "t", "p", "offsets", "labels"])
def test_damaged_store_is_named_and_refused_when_one_byte_differs(store, array):
    path = store.path / f"{array}.raw"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=rf"store: this event store is damaged \({array}\.raw .*Delete the folder"):
        ensure_store(store.path, PARAMS, never)


def test_damaged_store_is_refused_when_an_array_is_missing(store):
    (store.path / "t.raw").unlink()
    with pytest.raises(StoreError, match=r"damaged \(t\.raw is missing"):
        open_store(store.path)


@pytest.mark.parametrize("content", ["", "{", '{"format": 1}', "[]"])
def test_damaged_store_is_refused_when_the_manifest_cannot_be_read(store, content):
    (store.path / "manifest.json").write_text(content)
    with pytest.raises(StoreError, match=r"damaged \(manifest\.json cannot be read\)\. Delete the folder"):
        ensure_store(store.path, PARAMS, never)


def test_damaged_store_is_refused_when_the_manifest_is_truncated(store):
    path = store.path / "manifest.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError, match=r"manifest\.json cannot be read"):
        open_store(store.path)


def test_damaged_store_is_refused_when_the_manifest_is_missing(store):
    (store.path / "manifest.json").unlink()
    with pytest.raises(StoreError, match=r"manifest\.json is missing"):
        ensure_store(store.path, PARAMS, never)


def test_damaged_store_is_built_again_once_deleted(store):
    shutil.rmtree(store.path)
    assert len(ensure_store(store.path, PARAMS, lambda: [chunk()])) == 4


def test_open_refuses_where_there_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="nothing: there is no event store here"):
        open_store(tmp_path / "nothing")


def test_failed_build_leaves_no_store_and_the_next_succeeds(tmp_path):
    def fails():
        yield chunk()
        raise RuntimeError("the camera broke")

    with pytest.raises(RuntimeError, match="the camera broke"):
        ensure_store(tmp_path / "store", PARAMS, fails)
    assert names(tmp_path) == []
    assert len(ensure_store(tmp_path / "store", PARAMS, lambda: [chunk()])) == 4


BUILDER = """
import sys, time
from pathlib import Path
import numpy as np
from filelock import Timeout
from snn_helpers.events import store
from snn_helpers.events.store import Chunk, Geometry, ensure_store

geometry = Geometry((34, 34, 2), tuple("0123456789"))
folder, role = Path(sys.argv[1]), sys.argv[2]
ones = np.ones(4, int)

def chunks():
    with open(folder / "builds", "a") as log:
        log.write(role)
    yield Chunk(ones, ones, ones, ones, np.array([4]), np.array([1]))
    print("building", flush=True)
    while role == "first" and not (folder / "second-waits").exists():
        time.sleep(0.01)

class TellingLock(store.FileLock):
    def acquire(self, *args, **options):
        try:
            return super().acquire(timeout=0)
        except Timeout:
            (folder / "second-waits").touch()
        return super().acquire(*args, **options)

if role == "second":
    store.FileLock = TellingLock
print(len(ensure_store(folder / "store", {"seed": 3, "source": "test"}, chunks, geometry)), flush=True)
"""


def start_builder(folder, role):
    command = [sys.executable, "-c", textwrap.dedent(BUILDER), str(folder), role]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_killed_build_leaves_no_store_and_the_next_succeeds(tmp_path):
    with start_builder(tmp_path, "first") as builder:
        assert builder.stdout.readline() == "building\n"
        builder.send_signal(signal.SIGKILL)
        builder.wait()
    assert not (tmp_path / "store").exists()
    left_over = [name for name in names(tmp_path) if name != "builds"]
    assert len(left_over) == 1  # the kill came in mid-build
    assert len(ensure_store(tmp_path / "store", PARAMS, lambda: [chunk()])) == 4
    assert names(tmp_path) == ["builds", "store"]


def test_two_processes_at_once_build_once(tmp_path):
    with start_builder(tmp_path, "first") as first:
        assert first.stdout.readline() == "building\n"
        with start_builder(tmp_path, "second") as second:
            assert second.communicate()[0] == "1\n"
        assert first.communicate()[0] == "1\n"
    assert (first.returncode, second.returncode) == (0, 0)
    assert (tmp_path / "builds").read_text() == "first"


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"file/stores/store: cannot keep the event store here .*SNN_DATA_DIR"):
        ensure_store(tmp_path / "file" / "stores" / "store", PARAMS, never)


def test_disk_that_is_full_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", no_room)
    with pytest.raises(StoreError, match=r"store: cannot keep .*\(No space left on device\)\. Make room"):
        ensure_store(tmp_path / "store", PARAMS, lambda: [chunk()])
    monkeypatch.undo()
    assert names(tmp_path) == []


def test_store_without_recordings_opens(tmp_path):
    store = ensure_store(tmp_path / "store", PARAMS, list)
    assert len(store) == 0
    assert store.offsets.tolist() == [0]
    assert len(ensure_store(tmp_path / "store", PARAMS, never)) == 0


def test_store_of_recordings_without_events_opens(tmp_path):
    store = ensure_store(tmp_path / "store", PARAMS, lambda: [chunk((0, 0), (1, 2))])
    assert len(store) == 2
    assert len(store.events(1)) == 0


@pytest.mark.parametrize("index", [-1, 4])
def test_events_refuse_an_index_outside(store, index):
    with pytest.raises(IndexError, match=rf"`index` must be in 0\.\.3; got {index}"):
        store.events(index)


@pytest.mark.parametrize(("field", "value"), [("x", 256), ("t", 2**31), ("t", -1)])
def test_store_refuses_what_its_arrays_cannot_hold(tmp_path, field, value):
    wrong = chunk((1,), (1,))._replace(**{field: np.array([value])})
    with pytest.raises(StoreError, match=f"`{field}` "):
        ensure_store(tmp_path / "store", PARAMS, lambda: [wrong])
    assert names(tmp_path) == []
