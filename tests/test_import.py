"""Anyone's recordings come in: found, told about, written whole, split without leaks, and used by name."""

import csv
import json
import re

import numpy as np
import pytest

from snn_helpers import TrainConfig, accelerate
from snn_helpers.cli import main
from snn_helpers.data import EventsPooledWarning, load_dataset
from snn_helpers.data.importing import find_recordings, import_recordings
from snn_helpers.events.dtype import make_events
from snn_helpers.events.read import read_events, write_events

SIZE = (60, 40)


def recording(seed, count=400, length_us=100_000, size=SIZE):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, length_us, count))
    t[0], t[-1] = 0, length_us - 1
    return make_events(rng.integers(0, size[0], count), rng.integers(0, size[1], count), t, rng.integers(0, 2, count))


@pytest.fixture
def folder(tmp_path, data_home):
    """Return a folder <class>/<file> of two classes with five recordings each, in two formats."""
    root = tmp_path / "mine"
    for label, name in enumerate(("left", "right")):
        (root / name).mkdir(parents=True)
        for number in range(5):
            suffix = ".npz" if number % 2 else ".h5"
            write_events(root / name / f"{number}{suffix}", recording(10 * label + number), SIZE)
    return root


def all_events(dataset):
    return {dataset.events(index).tobytes() for index in range(len(dataset))}


def test_import_shows_what_it_found_and_the_name_works(folder, capsys):
    assert main(["import", str(folder), "--out", "mine"]) == 0
    said = capsys.readouterr().out
    assert "10 recordings" in said
    assert "sensor 60 x 40, as the files say" in said
    assert "left (5), right (5)" in said
    parts = {split: load_dataset("mine", split=split) for split in ("train", "valid", "test")}
    assert sum(len(part) for part in parts.values()) == 10
    for part in parts.values():
        assert part.sensor_size == (60, 40, 2)
        assert part.classes == ("left", "right")
        assert set(part.labels) == {0, 1}
    assert not all_events(parts["train"]) & all_events(parts["test"])
    wanted = {recording(10 * label + number).tobytes() for label in (0, 1) for number in range(5)}
    assert set.union(*map(all_events, parts.values())) == wanted


def test_nothing_is_written_on_a_dry_run_and_a_taken_name_is_refused(folder, data_home, capsys):
    assert main(["import", str(folder), "--out", "mine", "--dry_run"]) == 0
    assert not (data_home / "imported").exists()
    assert main(["import", str(folder), "--out", "mine"]) == 0
    assert main(["import", str(folder), "--out", "mine"]) == 1
    assert "there is a data set 'mine' already" in capsys.readouterr().err
    assert main(["import", str(folder), "--out", "mine", "--replace"]) == 0


def test_splits_that_were_made_are_kept_and_missing_ones_made(tmp_path, data_home):
    root = tmp_path / "set"
    for split, count in (("Train", 10), ("test", 2)):
        for label, name in enumerate("ab"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                seed = 1_000 * len(split) + 100 * label + number
                write_events(root / split / name / f"{number}.npz", recording(seed), SIZE)
    import_recordings(find_recordings([root]), "kept")
    assert [len(load_dataset("kept", split=split)) for split in ("train", "valid", "test")] == [18, 2, 4]
    wanted = {recording(4_000 + 100 * label + number).tobytes() for label in (0, 1) for number in (0, 1)}
    assert all_events(load_dataset("kept", split="test")) == wanted


def test_slices_are_whole_overlap_and_stay_with_their_recording(folder):
    found = find_recordings([folder])
    import_recordings(found, "sliced", slice_us=20_000, overlap=0.5)
    parents = {}
    for split in ("train", "valid", "test"):
        dataset = load_dataset("sliced", split=split)
        for index in range(len(dataset)):
            events = dataset.events(index)
            assert 0 <= events["t"][0] <= events["t"][-1] < 20_000
            whole = [
                (label, number)
                for label in (0, 1)
                for number in range(5)
                for start in range(0, 80_001, 10_000)
                if np.array_equal(part_of(recording(10 * label + number), start, 20_000), events)
            ]
            assert len(whole) == 1
            assert whole[0][0] == dataset.labels[index]
            parents.setdefault(whole[0], []).append(split)
    assert len(parents) == 10
    assert all(len(set(splits)) == 1 and len(splits) == 9 for splits in parents.values())


def test_slices_skip_an_hour_without_events(folder, tmp_path):
    # Slices of 1 µs through a pause of an hour: none of the 3.6e9 empty ones is looked at.
    for name in ("left", "right"):
        write_events(folder / name / "0.h5", make_events([1, 2, 3], [1, 2, 3], [7, 9, 3_600_000_009], [0, 1, 0]), SIZE)
    table = tmp_path / "labels.csv"
    table.write_text("file,label\nleft/0.h5,a\nright/0.h5,b\n")
    home = import_recordings(find_recordings([folder], table), tmp_path / "out", slice_us=1)
    with open(home / "recordings.csv", newline="", encoding="utf-8") as stream:
        assert [int(row["start_us"]) for row in csv.DictReader(stream)] == 2 * [7, 9, 3_600_000_009]


def part_of(events, start, length):
    inside = events[(events["t"] >= start) & (events["t"] < start + length)].copy()
    inside["t"] -= start
    return inside


def test_table_of_labels_cuts_one_file_into_recordings(tmp_path, data_home):
    long = recording(1, 3_000, 900_000)
    write_events(tmp_path / "long.npz", long, SIZE)
    rows = [f"long.npz,{'ab'[i % 2]},{100_000 * i},{100_000 * (i + 1)}" for i in range(8)]
    (tmp_path / "labels.csv").write_text("file,label,start_us,stop_us\n" + "\n".join(rows) + "\n")
    import_recordings(find_recordings([tmp_path], tmp_path / "labels.csv"), "cut")
    parts = [load_dataset("cut", split=split) for split in ("train", "valid", "test")]
    assert sum(map(len, parts)) == 8
    counts = sorted(len(part.events(index)) for part in parts for index in range(len(part)))
    wanted = [np.count_nonzero((long["t"] >= 100_000 * i) & (long["t"] < 100_000 * (i + 1))) for i in range(8)]
    assert counts == sorted(wanted)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,class\nx,1\n", "must have the columns file and label; it has name, class"),
        ("file,label\nnone.npz,a\n", "line 2: there is no file 'none.npz'"),
        ("file,label,start_us,stop_us\nlong.npz,a,5,5\n", "line 2: ends at 5 µs, before it starts at 5"),
        ("file,label,start_us,stop_us\nlong.npz,a,0.5,5\n", "line 2: start_us and stop_us must be whole numbers of µs"),
        ("file,label,split\nlong.npz,a,dev\n", "line 2: 'dev' is no split"),
        ("file,label\nlong.npz,\n", "line 2: has no label"),
        ("file,label\nlong.npz,a\n", "all recordings are of one class, 'a'"),
    ],
)
def test_tables_that_do_not_fit_are_refused_by_their_line(tmp_path, data_home, table, message):
    write_events(tmp_path / "long.npz", recording(1), SIZE)
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(ValueError, match=message):
        find_recordings([tmp_path], tmp_path / "labels.csv")


def test_files_that_cannot_be_read_are_named_and_left_out_only_when_asked(folder, capsys):
    (folder / "left" / "note.txt").write_text("not events")
    assert main(["import", str(folder), "--out", "mine"]) == 1
    told = capsys.readouterr()
    assert "left out, " in told.out
    assert "note.txt" in told.out
    assert "1 files cannot be read; they are named above. Add --skip" in told.err
    assert main(["import", str(folder), "--out", "mine", "--skip"]) == 0
    assert sum(len(load_dataset("mine", split=split)) for split in ("train", "valid", "test")) == 10


def test_a_folder_of_ones_own_is_a_data_set_everywhere(folder, tmp_path, data_home):
    home = import_recordings(find_recordings([folder]), tmp_path / "out" / "mine")
    assert home == tmp_path / "out" / "mine"
    assert not (data_home / "imported").exists()
    assert TrainConfig(dataset=str(home), profile="smoke").resolve().dataset == str(home)
    dataset = load_dataset(str(home), split="test")
    assert dataset.provenance.dataset == "mine"
    assert "imported mine" in str(dataset.provenance)
    with pytest.raises(ValueError, match="there is a data set"):
        import_recordings(find_recordings([folder]), home)
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match="is there already and holds no imported recordings"):
        import_recordings(find_recordings([folder]), tmp_path / "photos", replace_it=True)


def test_no_folder_of_anything_else_is_replaced(folder, tmp_path, data_home, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import_recordings(find_recordings([folder]), "mine")
    files = sorted(folder.rglob("*.*"))
    # A data set has the name of the folder of the recordings themselves, which a Path means.
    with pytest.raises(ValueError, match="is there already and holds no imported recordings"):
        import_recordings(find_recordings([folder]), folder.relative_to(tmp_path), replace_it=True)
    raw = data_home / "imported" / "raw"
    folder.rename(raw)
    with pytest.raises(ValueError, match="is there already and holds no imported recordings"):
        import_recordings(find_recordings([raw]), "raw")
    assert sorted(raw.rglob("*.*")) == [raw / path.relative_to(folder) for path in files]
    inside = data_home / "imported" / "mine" / "more"
    raw.rename(inside)
    with pytest.raises(ValueError, match="itself, which would be lost"):
        import_recordings(find_recordings([inside]), "mine", replace_it=True)
    assert len([*inside.rglob("*.*")]) == len(files)


def test_no_recording_comes_twice(folder, tmp_path, capsys):
    assert main(["import", str(folder), f"{folder}/../mine", "--out", "mine"]) == 1
    assert "comes twice, and may stand once" in capsys.readouterr().err
    (folder / "left" / "again.h5").symlink_to(folder / "left" / "0.h5")
    with pytest.raises(ValueError, match="comes twice"):
        find_recordings([folder])
    table = tmp_path / "labels.csv"
    table.write_text("file,label,start_us,stop_us\n" + 2 * "left/0.h5,a,0,9\n" + "right/0.h5,b,0,9\n")
    with pytest.raises(ValueError, match=r"left.0\.h5: comes twice"):
        find_recordings([folder], table)


@pytest.mark.parametrize("flags", [("--out", "a b"), ("--slice_us", "0"), ("--overlap", "nan")])
def test_flags_are_checked_before_recordings_are_read(folder, capsys, flags):
    assert main(["import", str(folder), "--out", "mine", *flags]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1


def test_every_slice_says_which_part_of_which_file_it_is(folder, tmp_path):
    home = import_recordings(find_recordings([folder]), tmp_path / "out", slice_us=20_000, overlap=0.5)
    with open(home / "recordings.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for split in ("train", "valid", "test"):
        dataset = load_dataset(str(home), split=split)
        of_split = [row for row in rows if row["split"] == split]
        assert [int(row["index"]) for row in of_split] == list(range(len(dataset)))
        for index, row in enumerate(of_split):
            assert row["label"] == dataset.classes[dataset.labels[index]]
            whole = read_events(row["file"])
            assert np.array_equal(part_of(whole, int(row["start_us"]), 20_000), dataset.events(index))


@pytest.mark.parametrize("name", ["simulated", "a b", "../up", ""])
def test_other_names_are_refused(folder, data_home, name):
    with pytest.raises(ValueError, match="cannot be the name of a data set"):
        import_recordings(find_recordings([folder]), name)
    assert not (data_home / "imported").exists()


def test_a_slice_longer_than_a_recording_leaves_nothing_behind(folder, data_home):
    with pytest.raises(ValueError, match="is shorter than a slice of 200000 µs"):
        import_recordings(find_recordings([folder]), "mine", slice_us=200_000)
    assert not any((data_home / "imported").iterdir())


def test_folder_that_was_not_imported_says_what_to_do(folder):
    with pytest.raises(ValueError, match=r"Import it once: `snn-helpers import .*mine --out NAME`"):
        load_dataset(str(folder))


def test_large_sensor_is_pooled_for_training_and_the_checkpoint_knows_it(tmp_path, data_home, monkeypatch, capsys):
    from snn_helpers import TrainConfig, load_model, train

    monkeypatch.setenv("SNN_RUNS_DIR", str(tmp_path / "runs"))
    root = tmp_path / "wide"
    for label, name in enumerate(("one", "two", "three")):
        (root / name).mkdir(parents=True)
        for number in range(6):
            write_events(root / name / f"{number}.npz", recording(10 * label + number, size=(300, 200)), (320, 240))
    import_recordings(find_recordings([root]), "wide")
    config = TrainConfig(dataset="wide", epochs=1, batch_size=4, time_steps=3, image_size=32)
    result = train(config)
    assert "320 x 240 pixels pooled to 32 x 24: " in capsys.readouterr().out
    model, saved = load_model(result.paths["last"])
    assert saved.image_size == 32
    assert (model.image_size, model.num_classes) == ((32, 24), 3)
    assert json.loads(result.paths["result"].read_text())["n_test"] == 3
    frames = load_dataset("wide").pooled(32).frames([0], 3)
    assert frames.shape == (3, 1, 2, 24, 32)
    assert frames.sum() == 400


def test_smaller_frames_say_what_share_of_events_meets_another(tmp_path, data_home):
    # By hand: in one step the 4 events are in 3 cells; at 8 x 8 the two pixels become one, and 2 cells are left.
    root = tmp_path / "four"
    for label, name in enumerate(("one", "two")):
        (root / name).mkdir(parents=True)
        for number in range(3):
            events = make_events([0, 1, 0, 0], [0, 0, 0, 0], [0, 10, 20, 30 + label], [1, 1, 0, 0])
            write_events(root / name / f"{number}.npz", events, (16, 16))
    import_recordings(find_recordings([root]), "four")
    dataset = load_dataset("four")
    words = r"16 x 16 pixels pooled to 8 x 8: 50\.0% of the events share .*; unpooled 25\.0%\."
    with pytest.warns(EventsPooledWarning, match=words):
        frames = dataset.frames([0], 1, size=8)
    assert (frames[0, 0, 1, 0, 0], frames[0, 0, 0, 0, 0], frames.sum()) == (2, 2, 4)
    assert re.fullmatch(words, dataset.pooled(8).describe_pooling(1))
    assert dataset.describe_pooling(1) == ""
    batch, _ = next(dataset.loader(2, 1, size=8, shuffle=False).batches(0))
    assert batch.shape == (1, 2, 2, 8, 8)
    assert not np.array_equal(
        next(dataset.loader(2, 2, shuffle=False, window_us=25).batches(0))[0],
        next(dataset.loader(2, 2, shuffle=False).batches(0))[0],
    )


def test_runs_of_a_sweep_are_of_the_recordings_that_were_imported(folder, data_home):
    from snn_helpers.sweeps import _data_of

    import_recordings(find_recordings([folder]), "mine")
    before = _data_of({"profile": "smoke", "dataset": "mine"})
    write_events(folder / "left" / "0.h5", recording(99), SIZE)
    import_recordings(find_recordings([folder]), "mine", replace_it=True)
    assert _data_of({"profile": "smoke", "dataset": "mine"}) != before


SOURCE = """
import numpy as np
from snn_helpers import register_source
from snn_helpers._paths import data_home
from snn_helpers.data.dataset import EventDataset, Provenance, checksum_of
from snn_helpers.events.store import Chunk, Geometry, ensure_store

@register_source("bars")
def load_bars(data_dir, split):
    def chunks():
        rng = np.random.default_rng(0)
        for label in 2 * [*range(11)]:
            x, y, p = rng.integers(30 * label, 30 * label + 20, 99), rng.integers(0, 260, 99), rng.integers(0, 2, 99)
            yield Chunk(x, y, np.sort(rng.integers(0, 90_000, 99)), p, np.array([99]), np.array([label]))
    geometry = Geometry((346, 260, 2), tuple(f"bar {i}" for i in range(11)))
    store = ensure_store(data_home() / "stores" / f"bars-{split}", {}, chunks, geometry)
    provenance = Provenance("bars", split, "made-up bars", len(store), checksum_of(store))
    return EventDataset(store, np.arange(len(store)), provenance)
"""


def test_data_set_of_one_file_is_trained_on_and_drawn_from_the_command_line(tmp_path, data_home, monkeypatch, capsys):
    from snn_helpers._datasets import REGISTERED

    monkeypatch.setenv("SNN_RUNS_DIR", str(tmp_path / "runs"))
    (tmp_path / "bars.py").write_text(SOURCE)
    flags = ["--plugins", str(tmp_path / "bars.py"), "--dataset", "bars"]
    run = ["train", *flags, "--profile", "smoke", "--time_steps", "2", "--save_dir", str(tmp_path / "run")]
    assert main(run) == 0, capsys.readouterr().err
    assert "made-up bars, test, n = 22" in capsys.readouterr().out
    look = [
        "visualize-activations",
        "--resume",
        str(tmp_path / "run" / "best.pt"),
        "--num_samples",
        "11",
        "--confusion",
    ]
    assert main([*look, "--log_dir", str(tmp_path / "act")]) == 0, capsys.readouterr().err
    monkeypatch.setenv("SNN_LOGS_DIR", str(tmp_path / "logs"))
    draw = ["visualize-data", "--plugins", str(tmp_path / "bars.py"), "--dataset", "bars", "--num_samples", "1"]
    assert main(draw) == 0
    assert list((tmp_path / "logs" / "data").glob("bars-train-000-*.png"))
    REGISTERED.pop("bars")


def test_data_set_is_one_of_torchs_with_workers_and_masks(folder):
    import torch

    import_recordings(find_recordings([folder]), "mine")
    dataset = load_dataset("mine")
    dataset.num_steps = 4
    loader = torch.utils.data.DataLoader(dataset, batch_size=3, num_workers=2, multiprocessing_context="spawn")
    frames = torch.cat([frames for frames, _ in loader])
    np.testing.assert_array_equal(frames.transpose(0, 1), dataset.frames(range(len(dataset)), 4))
    lefts = dataset.subset(dataset.labels == 0)
    assert len(lefts) == np.count_nonzero(dataset.labels == 0)
    assert set(lefts.labels) == {0}
    np.testing.assert_array_equal(dataset.frames(dataset.labels == 0, 4), lefts.frames(range(len(lefts)), 4))
    with pytest.raises(IndexError, match=r"a mask must have the shape \[\d+\]; got \[3\]"):
        dataset.subset([True, False, True])
    with pytest.raises(TypeError, match="whole numbers or a mask of bool; got dtype float64"):
        dataset.subset([0.0])


def test_data_set_is_scored_in_neurobench(folder):
    benchmarks, models = pytest.importorskip("neurobench.benchmarks"), pytest.importorskip("neurobench.models")
    import snntorch as snn
    import torch
    from neurobench.metrics.workload import ClassificationAccuracy
    from neurobench.processors.postprocessors import ChooseMaxCount

    import_recordings(find_recordings([folder]), "mine")
    dataset = load_dataset("mine")
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.LazyLinear(2), snn.Leaky(0.9, init_hidden=True, output=True)
    ).eval()
    loader = torch.utils.data.DataLoader(dataset, batch_size=4)
    with torch.no_grad():
        net(next(iter(loader))[0][:, 0].float())
        ours = accelerate(net)(torch.from_numpy(dataset.frames(range(len(dataset)), dataset.num_steps)).float())[0]
    as_floats = torch.utils.data.default_collate
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=4, collate_fn=lambda rows: tuple(as_floats([(frames.float(), y) for frames, y in rows]))
    )
    theirs = benchmarks.Benchmark(
        models.SNNTorchModel(net), loader, [], [ChooseMaxCount()], [[], [ClassificationAccuracy]]
    ).run(quiet=True)
    expected = (ours.sum(0).argmax(1).numpy() == dataset.labels).mean()
    assert theirs["ClassificationAccuracy"] == pytest.approx(expected)


def test_motion_is_balanced_and_its_splits_share_no_digit(data_home, monkeypatch):
    from snn_helpers.data.sources import motion

    monkeypatch.setattr(motion, "SIZES", {"train": 24, "valid": 12, "test": 12})
    monkeypatch.setattr(motion, "_RECORDINGS_PER_CHUNK", 10)
    parts = {split: load_dataset("motion", split=split) for split in ("train", "valid", "test")}
    for part in parts.values():
        assert part.num_classes == 6
        assert set(np.bincount(part.labels)) == {len(part) // 6}
        assert not part.is_nmnist
    assert not all_events(parts["valid"]) & all_events(parts["test"])


def grouped(folder):
    """Return the groups of each split of what was imported to a folder."""
    with open(folder / "recordings.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {split: {row["group"] for row in rows if row["split"] == split} for split in ("train", "valid", "test")}


def test_groups_stay_in_one_split_and_each_split_has_some(tmp_path, data_home, capsys):
    root = tmp_path / "people"
    for label, name in enumerate(("wave", "clap")):
        (root / name).mkdir(parents=True)
        for number in range(12):
            write_events(root / name / f"user{number % 6}_{number}.npz", recording(100 * label + number), SIZE)
    home = tmp_path / "mine"
    found = find_recordings([root], group=r"user\d+_")
    assert "6 groups, each in one split" in str(found)
    found = find_recordings([root], group=r"user(\d+)_")
    groups = grouped(import_recordings(found, home, slice_us=50_000))
    assert all(groups.values())
    assert sorted(name for names in groups.values() for name in names) == [*"012345"]
    for split in groups:
        assert set(load_dataset(str(home), split=split).labels) == {0, 1}
    assert main(["import", str(root), "--out", "two", "--group", r"user[01]"]) == 1
    assert "user2_2.npz: `group` 'user[01]' finds nothing" in capsys.readouterr().err
    assert main(["import", str(root), "--out", "one", "--group", "user"]) == 0
    assert "no test recordings: 1 groups, which stay whole, cannot" in capsys.readouterr().err
    with pytest.raises(ValueError, match="is no regular expression"):
        find_recordings([root], group="user(")


def test_group_of_a_table_goes_with_its_split_and_may_have_one(tmp_path, data_home):
    write_events(tmp_path / "long.npz", recording(1, 3_000, 900_000), SIZE)
    table = tmp_path / "labels.csv"

    def rows(*lines):
        table.write_text("file,label,start_us,stop_us,split,group\n" + "\n".join(lines) + "\n")
        return find_recordings([tmp_path], table)

    parts = [f"long.npz,{'ab'[i % 2]},{100_000 * i},{100_000 * (i + 1)},{{}},p{i // 2}" for i in range(8)]
    found = rows(parts[0].format("test"), *(part.format("") for part in parts[1:]))
    groups = grouped(import_recordings(found, tmp_path / "mine"))
    assert groups["test"] == {"p0"}
    assert len(groups["valid"]) == 1
    assert not groups["train"] & (groups["valid"] | {"p0"})
    with pytest.raises(ValueError, match="group 'p0' lies in the splits test and train"):
        rows(parts[0].format("test"), parts[1].format("train"))
    with pytest.raises(ValueError, match="from 0 and from 50 µs overlap, and may come into two splits"):
        rows("long.npz,a,0,100,,x", "long.npz,b,50,200,,y")
    assert rows("long.npz,a,0,100,,x", "long.npz,b,50,200,,x").groups == {"x"}
    assert rows("long.npz,a,0,100,,", "long.npz,b,50,200,,").groups == {"long.npz"}
