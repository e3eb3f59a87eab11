"""Data sets: where recordings come from, how they are split, in which order they come, and what is refused."""

import hashlib
import io
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch
from tonic import download_utils
from tonic.datasets import NMNIST

from snn_helpers.data import DownloadError, find_real_recordings, load_dataset
from snn_helpers.data.dataset import EventDataset
from snn_helpers.events import digits
from snn_helpers.events.frames import Augment
from snn_helpers.events.recording import RecordingError, read_bin
from snn_helpers.events.store import StoreError

SPLITS = ("train", "valid", "test")


@pytest.fixture
def folder(make_folder, data_home):
    """Return a folder with ten Train and two Test recordings of each digit."""
    return make_folder()


@pytest.fixture
def train_only(make_folder, data_home):
    """Return a folder with twenty Train recordings of each digit and no Test."""
    return make_folder("train-only", {"Train": 20})


def contents(dataset):
    """Return what each recording holds, to tell recordings apart."""
    return [dataset.events(index).tobytes() for index in range(len(dataset))]


def per_class(dataset):
    return np.bincount(dataset.labels, minlength=10).tolist()


def test_folder_with_both_parts_takes_valid_from_train(folder):
    sets = {split: load_dataset("nmnist", folder, split) for split in SPLITS}
    assert {split: per_class(dataset) for split, dataset in sets.items()} == {
        "train": [9] * 10,
        "valid": [1] * 10,
        "test": [2] * 10,
    }
    files = {part: {read_bin(path).tobytes() for path in folder.glob(f"{part}/*/*.bin")} for part in ("Train", "Test")}
    held = {split: set(contents(dataset)) for split, dataset in sets.items()}
    assert held["test"] == files["Test"]
    assert held["train"] | held["valid"] == files["Train"]
    assert not held["train"] & held["valid"]


def test_folder_with_train_only_takes_a_fifth_for_testing(train_only):
    sets = {split: load_dataset("nmnist", train_only, split) for split in SPLITS}
    # A fifth of 20, then a tenth of the 16 left.
    assert {split: per_class(dataset) for split, dataset in sets.items()} == {
        "train": [14] * 10,
        "valid": [2] * 10,
        "test": [4] * 10,
    }
    held = [recording for dataset in sets.values() for recording in contents(dataset)]
    assert len(set(held)) == len(held) == 200


def test_folder_with_test_only_gives_the_test_split(make_folder, data_home):
    root = make_folder(per_class={"Test": 3})
    assert per_class(load_dataset("nmnist", root, "test")) == [3] * 10
    for split in ("train", "valid"):
        with pytest.raises(ValueError, match=f"has no Train folder, so that there is no '{split}' split"):
            load_dataset("nmnist", root, split)


def test_folder_may_be_the_one_above(folder):
    assert len(load_dataset("nmnist", folder.parent, "test")) == 20


def test_folder_may_lack_classes(make_folder, data_home):
    root = make_folder(per_class={"Train": 10}, digits=(2, 7))
    assert per_class(load_dataset("nmnist", root, "train")) == [0, 0, 7, 0, 0, 0, 0, 7, 0, 0]


def test_labels_are_the_digit_folders(folder):
    dataset = load_dataset("nmnist", folder, "test")
    digit_of = {read_bin(path).tobytes(): int(path.parent.name) for path in folder.glob("Test/*/*.bin")}
    assert dataset.labels.tolist() == [digit_of[recording] for recording in contents(dataset)]


def test_splits_are_the_same_when_the_store_is_built_again(make_folder, data_home, monkeypatch, tmp_path):
    root = make_folder(per_class={"Train": 20})
    first = {split: contents(load_dataset("nmnist", root, split)) for split in SPLITS}
    monkeypatch.setenv("SNN_DATA_DIR", str(tmp_path / "elsewhere"))
    assert {split: contents(load_dataset("nmnist", root, split)) for split in SPLITS} == first


def test_store_is_built_again_when_a_recording_is_added(folder):
    assert len(load_dataset("nmnist", folder, "test")) == 20
    (folder / "Test" / "3" / "00009.bin").write_bytes(bytes([1, 2, 128, 0, 5]))
    dataset = load_dataset("nmnist", folder, "test")
    assert per_class(dataset) == [2, 2, 2, 3, 2, 2, 2, 2, 2, 2]


def test_folders_of_two_places_do_not_share_a_store(make_folder, data_home):
    first, second = make_folder("one", {"Test": 1}, seed=1), make_folder("two", {"Test": 1}, seed=2)
    contents_of_first = contents(load_dataset("nmnist", first, "test"))
    assert contents(load_dataset("nmnist", second, "test")) != contents_of_first
    assert contents(load_dataset("nmnist", first, "test")) == contents_of_first


def test_empty_file_is_refused_by_name(folder):
    (folder / "Test" / "0" / "00001.bin").write_bytes(b"")
    with pytest.raises(RecordingError, match=r"0/00001\.bin: the file is empty"):
        load_dataset("nmnist", folder, "test")


def test_frames_are_those_of_the_recordings_asked_for(folder):
    dataset = load_dataset("nmnist", folder, "train")
    frames = dataset.frames([7, 3], num_steps=1)
    for place, index in enumerate((7, 3)):
        expected = np.zeros((2, 34, 34), int)
        for x, y, _, p in dataset.events(index).tolist():
            expected[p, y, x] += 1
        np.testing.assert_array_equal(frames[0, place], expected)


@pytest.mark.parametrize("index", [-1, 20])
def test_recordings_outside_are_refused(folder, index):
    dataset = load_dataset("nmnist", folder, "test")
    with pytest.raises(IndexError, match=rf"`indices` must be in 0\.\.19; got {index}"):
        dataset.events(index)
    with pytest.raises(IndexError, match=r"`indices` must be in 0\.\.19"):
        dataset.frames([0, index])


def test_provenance_counts_and_names(folder, train_only):
    dataset = load_dataset("nmnist", folder, "train")
    assert dataset.provenance.as_dict().items() >= {"dataset": "nmnist", "split": "train", "recordings": 90}.items()
    assert str(dataset.provenance) == "real N-MNIST, train, n = 90"
    assert dataset.take(25).provenance.recordings == 25
    held_out = load_dataset("nmnist", train_only, "test").provenance
    assert "held out of Train" in held_out.source
    assert held_out.checksum != dataset.provenance.checksum


def test_parts_of_a_data_set_are_of_its_class_and_keep_what_was_set(folder):
    class Noted(EventDataset):
        note = "plain"

    whole = load_dataset("nmnist", folder, split="train")
    whole.__class__, whole.note, whole.num_steps = Noted, "kept", 3
    for part in (
        whole.take(5),
        whole.subset(whole.labels == 3),
        whole.pooled(8),
        whole + whole,
        whole.pooled(8).take(5),
    ):
        assert (type(part), part.note, part[0][0].shape[0]) == (Noted, "kept", 3)
    assert whole.pooled(8).take(5)[0][0].shape[2:] == (8, 8)


def test_take_is_stratified_and_seeded(train_only):
    dataset = load_dataset("nmnist", train_only, "train")
    taken = dataset.take(30)
    assert per_class(taken) == [3] * 10
    assert set(contents(taken)) <= set(contents(dataset))
    assert len(set(contents(taken))) == 30
    assert contents(dataset.take(30)) == contents(taken)
    assert contents(dataset.take(30, seed=1)) != contents(taken)


def test_take_of_fewer_than_the_classes_gives_no_class_twice(train_only):
    assert max(per_class(load_dataset("nmnist", train_only, "train").take(7))) == 1


def test_take_of_an_uneven_number_differs_by_one_at_most(train_only):
    counts = per_class(load_dataset("nmnist", train_only, "train").take(47))
    assert sum(counts) == 47
    assert set(counts) == {4, 5}


@pytest.mark.parametrize("count", [None, 140, 10_000])
def test_take_of_all_gives_all(train_only, count):
    assert len(load_dataset("nmnist", train_only, "train").take(count)) == 140


def test_take_refuses_nothing(train_only):
    with pytest.raises(ValueError, match="`count` must be a whole number >= 1; got 0"):
        load_dataset("nmnist", train_only, "train").take(0)


def test_sum_of_two_folders_holds_the_recordings_of_both_with_their_labels(folder, train_only):
    first, second = (load_dataset("nmnist", path, "test") for path in (folder, train_only))
    both = first + second
    assert contents(both) == contents(first) + contents(second)
    assert both.labels.tolist() == [*first.labels, *second.labels]
    frames = both.frames([0, 25], num_steps=2)
    np.testing.assert_array_equal(frames[:, :1], first.frames([0], num_steps=2))
    np.testing.assert_array_equal(frames[:, 1:], second.frames([5], num_steps=2))
    assert str(both.provenance) == "real N-MNIST and real N-MNIST, held out of Train, test, n = 60"
    assert both.provenance.checksum not in {first.provenance.checksum, second.provenance.checksum}


def test_sum_within_a_folder_names_both_splits(train_only):
    valid, test = (load_dataset("nmnist", train_only, split) for split in ("valid", "test"))
    both = valid + test
    assert contents(both) == contents(valid) + contents(test)
    assert both.provenance.split == "valid and test"
    assert both.provenance.checksum == test.provenance.checksum


def test_recording_that_comes_several_times_counts_once(folder):
    dataset = load_dataset("nmnist", folder, "test")
    thrice = dataset.subset([4, 4, 7, 4])
    assert (len(thrice), thrice.provenance.recordings) == (4, 2)
    assert contents(thrice)[0] == contents(thrice)[3] == contents(dataset)[4]


def labels_of(batches):
    return torch.cat([labels for _, labels in batches]).tolist()


def test_loader_gives_torch_batches_and_a_smaller_last_one(folder):
    loader = load_dataset("nmnist", folder, "train").loader(32, num_steps=4)
    batches = list(loader)
    assert len(batches) == len(loader) == 3
    assert [tuple(frames.shape) for frames, _ in batches] == [(4, size, 2, 34, 34) for size in (32, 32, 26)]
    assert {frames.dtype for frames, _ in batches} == {torch.uint8}
    assert {labels.dtype for _, labels in batches} == {torch.int64}
    assert np.bincount(labels_of(batches)).tolist() == [9] * 10


def test_loader_pairs_frames_with_their_labels(folder):
    dataset = load_dataset("nmnist", folder, "test")
    label_of = {frame.tobytes(): label for frame, label in zip(dataset.frames(range(20), 1)[0], dataset.labels)}
    for frames, labels in dataset.loader(6, num_steps=1):
        assert labels.tolist() == [label_of[frame.tobytes()] for frame in frames[0].numpy()]


def test_loader_order_depends_on_seed_and_epoch_only(folder):
    dataset = load_dataset("nmnist", folder, "train")
    loader = dataset.loader(32, num_steps=1, seed=5)
    epochs = [loader.order(epoch).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(90)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 3
    # Another batch size, an earlier pass and the state of every global generator make no difference.
    np.random.default_rng().random()
    torch.rand(1)
    again = dataset.loader(7, num_steps=2, seed=5, augment=Augment(2))
    next(iter(again))
    assert [again.order(epoch).tolist() for epoch in range(3)] == epochs
    assert dataset.loader(32, seed=6).order(0).tolist() != epochs[0]
    labels = labels_of(loader.batches(2))
    assert labels == dataset.labels[epochs[2]].tolist()


def test_iterating_twice_gives_two_orders_and_a_new_loader_the_first_again(folder):
    dataset = load_dataset("nmnist", folder, "train")
    loader = dataset.loader(32, num_steps=1)
    first, second = labels_of(loader), labels_of(loader)
    assert first != second
    assert labels_of(dataset.loader(32, num_steps=1)) == first
    assert labels_of(loader.batches(1)) == second


def test_loader_without_shuffle_keeps_the_order(folder):
    dataset = load_dataset("nmnist", folder, "train")
    loader = dataset.loader(32, num_steps=1, shuffle=False)
    for _ in range(2):
        assert labels_of(loader) == dataset.labels.tolist()


def test_loader_augments_anew_each_epoch_and_equally_in_each_run(folder):
    dataset = load_dataset("nmnist", folder, "train")

    def epoch(number, seed=0):
        loader = dataset.loader(90, num_steps=2, shuffle=False, seed=seed, augment=Augment(max_shift=2, drop=0.2))
        return next(loader.batches(number))[0]

    assert torch.equal(epoch(0), epoch(0))
    assert not torch.equal(epoch(0), epoch(1))
    assert not torch.equal(epoch(0), epoch(0, seed=1))


def test_recording_that_comes_several_times_is_augmented_in_several_ways(folder):
    dataset = load_dataset("nmnist", folder, "train")
    thrice = dataset.subset([4, 7, 4])

    def frames(indices, augment=None):
        return thrice.frames(indices, 2, augment=augment, seed=5)

    first, _, again = frames([0, 1, 2], Augment(max_shift=3, drop=0.2)).swapaxes(0, 1)
    assert not np.array_equal(first, again)
    np.testing.assert_array_equal(frames([2], Augment(max_shift=3, drop=0.2))[:, 0], again)
    np.testing.assert_array_equal(*frames([0, 2]).swapaxes(0, 1))


def test_loader_passes_the_window_on(folder):
    dataset = load_dataset("nmnist", folder, "test")
    frames, _ = next(iter(dataset.loader(20, num_steps=7, shuffle=False, window="tonic")))
    np.testing.assert_array_equal(frames, dataset.frames(range(20), 7, "tonic"))
    assert frames.sum() < 20 * 80  # tonic's window drops the last events


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size`"),
        ({"batch_size": 4, "seed": -1}, "`seed`"),
        ({"batch_size": 4, "num_steps": 0}, "`num_steps`"),
    ],
)
def test_loader_refuses_bad_values(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("nmnist", folder, "test").loader(**arguments)


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        (
            "nmist",
            "train",
            "`dataset` must be one of 'simulated', 'motion', 'nmnist'; got 'nmist'. Did you mean 'nmnist'",
        ),
        ("nmnist", "vaild", "`split` must be one of .* Did you mean 'valid'"),
    ],
)
def test_unknown_names_are_refused_with_a_suggestion(folder, name, split, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(name, folder, split)


def test_folder_that_is_none_is_named(tmp_path, data_home):
    with pytest.raises(ValueError, match=r"`data_dir`: .*nowhere is not a folder\. Expected Train/<digit>"):
        load_dataset("nmnist", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"`data_dir`: .*empty has neither Train/ nor Test/ in it"):
        load_dataset("nmnist", tmp_path / "empty")


def test_wrong_digit_folder_is_named_and_leaves_no_store(folder, data_home):
    (folder / "Test" / "eleven").mkdir()
    with pytest.raises(RecordingError, match="Test: 'eleven' is not a digit"):
        load_dataset("nmnist", folder, "test")
    assert not data_home.exists()


def test_faulty_recording_is_named_and_leaves_no_store(folder, data_home):
    (folder / "Test" / "3" / "00001.bin").write_bytes(bytes(7))
    with pytest.raises(RecordingError, match=r"Test/3/00001\.bin: 7 bytes is not a multiple of 5"):
        load_dataset("nmnist", folder, "test")
    assert [path.name for path in (data_home / "stores").iterdir() if not path.name.endswith(".lock")] == []


def test_damaged_store_is_named(folder, data_home):
    load_dataset("nmnist", folder, "test")
    (array,) = data_home.glob("stores/nmnist-*/t.raw")
    array.write_bytes(array.read_bytes()[:-4])
    with pytest.raises(StoreError, match=r"stores/nmnist-.* is damaged \(t\.raw"):
        load_dataset("nmnist", folder, "test")


def test_folder_too_small_for_a_split_is_named(make_folder, data_home):
    root = make_folder(per_class={"Train": 2})
    with pytest.raises(ValueError, match=r"NMNIST/Train has too few recordings \(20\) for a 'valid' split"):
        load_dataset("nmnist", root, "valid")


def test_simulated_recordings_are_built_once_and_say_so(data_home, monkeypatch, capsys):
    chosen = np.arange(0, 5_000, 250)
    monkeypatch.setattr(digits, "digit_indices", lambda split: chosen)
    dataset = load_dataset("simulated", None, "valid")
    assert dataset.labels.tolist() == (chosen // 500).tolist()
    assert str(dataset.provenance) == "simulated N-MNIST, valid, n = 20"
    assert "simulating 20 valid recordings, once" in capsys.readouterr().err
    assert min(len(dataset.events(index)) for index in range(20)) > 500

    monkeypatch.setattr(digits, "mnist_digits", lambda: pytest.fail("simulated again"))
    again = load_dataset("simulated", None, "valid")
    assert contents(again) == contents(dataset)
    assert capsys.readouterr().err == ""
    assert [path.name for path in (data_home / "stores").iterdir() if path.is_dir()] == ["simulated-valid"]


def test_simulated_recordings_do_not_depend_on_their_neighbours(data_home, monkeypatch, tmp_path):
    monkeypatch.setattr(digits, "digit_indices", lambda split: np.array([100, 2_600]))
    pair = contents(load_dataset("simulated", tmp_path / "pair", "test"))
    monkeypatch.setattr(digits, "digit_indices", lambda split: np.array([2_600]))
    assert contents(load_dataset("simulated", tmp_path / "single", "test")) == pair[1:]


def test_real_recordings_are_found_where_the_variable_says(folder, data_home, monkeypatch):
    monkeypatch.setenv("SNN_REAL_DATA", str(folder))
    assert find_real_recordings() == folder
    monkeypatch.setenv("SNN_REAL_DATA", str(folder / "nowhere"))
    assert find_real_recordings() is None


def test_real_recordings_split_without_overlap(real_data, data_home):
    sizes = {split: len(load_dataset("nmnist", real_data, split)) for split in SPLITS}
    assert sum(sizes.values()) == len(list(real_data.glob("Train/*/*.bin")))
    assert sizes["test"] / sum(sizes.values()) == pytest.approx(0.2, abs=0.01)


class Response(io.BytesIO):
    """What `urllib.request.urlopen` gives, from memory."""

    def __init__(self, content, url):
        super().__init__(content)
        self.length, self.url = len(content), url


def test_download_that_fails_names_the_url_and_the_manual_path(data_home, monkeypatch):
    def unreachable(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(DownloadError) as caught:
        load_dataset("nmnist")
    message = str(caught.value)
    for part in ("Train", "no route to host", NMNIST.train_url, str(data_home / "NMNIST" / "train.zip"), "`data_dir`"):
        assert part in message
    assert [path for path in data_home.rglob("*") if path.is_file()] == []


def test_download_whose_checksum_is_wrong_leaves_no_file(data_home, monkeypatch):
    def other_file(request, **_):
        return Response(b"an error page, not an archive", request.full_url)

    monkeypatch.setattr(urllib.request, "urlopen", other_file)
    with pytest.raises(DownloadError, match=r"could not be fetched \(File not found or corrupted.*train\.zip"):
        load_dataset("nmnist")
    assert [path for path in data_home.rglob("*") if path.is_file()] == []


def test_download_that_breaks_off_leaves_no_file(data_home, monkeypatch):
    class BreaksOff(Response):
        def read(self, size=-1):
            if self.tell() > 2_000:
                raise ConnectionResetError(104, "Connection reset by peer")
            return super().read(size)

    monkeypatch.setattr(urllib.request, "urlopen", lambda request, **_: BreaksOff(bytes(9_000), request.full_url))
    with pytest.raises(DownloadError, match="Connection reset by peer"):
        load_dataset("nmnist")
    assert [path for path in data_home.rglob("*") if path.is_file()] == []


def test_download_that_is_stopped_leaves_no_file(data_home, monkeypatch):
    class Stopped(Response):
        def read(self, size=-1):
            if self.tell() > 2_000:
                raise KeyboardInterrupt
            return super().read(size)

    monkeypatch.setattr(urllib.request, "urlopen", lambda request, **_: Stopped(bytes(9_000), request.full_url))
    with pytest.raises(KeyboardInterrupt):
        load_dataset("nmnist")
    assert [path for path in data_home.rglob("*") if path.is_file()] == []


def test_archive_put_there_by_hand_is_named_when_it_is_another_file(data_home, monkeypatch):
    archive = data_home / "NMNIST" / "train.zip"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"something of mine")
    monkeypatch.setattr(download_utils, "download_and_extract_archive", lambda *_, **__: pytest.fail("downloaded"))
    with pytest.raises(DownloadError, match=r"train\.zip is not the official archive \(its MD5 is not 20959b8e"):
        load_dataset("nmnist")
    assert archive.read_bytes() == b"something of mine"


def test_both_parts_are_downloaded_with_their_checksums(data_home, make_folder, monkeypatch):
    asked = []

    def pretend(url, root, filename, md5):
        asked.append((url, filename, md5))

    monkeypatch.setattr(download_utils, "download_and_extract_archive", pretend)
    make_folder("data/NMNIST", {"Train": 10, "Test": 1})
    assert len(load_dataset("nmnist", split="test")) == 10
    assert asked == [
        (NMNIST.train_url, "train.zip", NMNIST.train_md5),
        (NMNIST.test_url, "test.zip", NMNIST.test_md5),
    ]


def test_no_download_is_tried_when_a_folder_is_given(folder, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("network used"))
    assert len(load_dataset("nmnist", folder, "test")) == 20


def test_splits_are_the_same_in_another_process(folder):
    script = (
        "import sys, hashlib\n"
        "from snn_helpers import load_dataset\n"
        "loader = (data := load_dataset('nmnist', sys.argv[1], 'train')).loader(32, num_steps=3, seed=4)\n"
        "print(hashlib.sha256(b''.join(frames.numpy().tobytes() for frames, _ in loader.batches(1))).hexdigest())\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loader = load_dataset("nmnist", folder, "train").loader(32, num_steps=3, seed=4)
    here = hashlib.sha256(b"".join(frames.numpy().tobytes() for frames, _ in loader.batches(1))).hexdigest()
    assert done.stdout.strip() == here
