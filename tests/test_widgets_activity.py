"""The activity explorer's Python side: what it packs can be unpacked, what it draws is what was recorded."""

import numpy as np
import pytest
import torch
from javascript import in_node

from snn_helpers.models.readout import decide
from snn_helpers.widgets import ActivityExplorer
from snn_helpers.widgets.activity_explorer import mosaic
from snn_helpers.widgets.base import MAX_BYTES

SHAPES = {"conv1": (4, 5, 5), "hidden": (9,), "output": (3,)}


def recorded(seed=0, num_steps=6, samples=4):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 3, (num_steps, samples, 2, 8, 8)).astype(np.uint8)
    spk = {name: (rng.random((num_steps, samples, *shape)) < 0.3).astype(np.uint8) for name, shape in SHAPES.items()}
    mem = {name: rng.normal(size=(num_steps, samples, *shape)).astype(np.float32) for name, shape in SHAPES.items()}
    return frames, spk, mem


def test_packed_recording_holds_every_spike_and_its_membranes():
    frames, spk, mem = recorded()
    explorer = ActivityExplorer(frames, spk, mem, [0, 1, 2, 0], state={"sample": 2})
    packed = explorer._buffers
    scales = np.frombuffer(packed["scales"], np.float32)
    for index, (layer, shape) in enumerate(SHAPES.items()):
        bits = np.unpackbits(np.frombuffer(packed[f"spk0_{index}"], np.uint8))[: 6 * int(np.prod(shape))]
        assert np.array_equal(bits, spk[layer][:, 2].ravel())
        back = np.frombuffer(packed[f"mem0_{index}"], np.int16) * scales[index]
        assert np.allclose(back, mem[layer][:, 2].ravel(), atol=np.abs(mem[layer]).max() / 32767)
    assert np.array_equal(np.frombuffer(packed["frames"], np.uint8), frames[:, 2].ravel())


def test_wrong_answers_are_those_that_decide_gives_and_the_label_is_not():
    frames, spk, mem = recorded()
    labels = decide((torch.tensor(spk["output"]), torch.tensor(mem["output"]))).numpy()
    labels[[1, 3]] = (labels[[1, 3]] + 1) % 3
    assert ActivityExplorer(frames, spk, mem, labels).wrong == [[1, 3]]


def test_equal_counts_are_decided_by_the_membranes_and_without_those_not_at_all():
    frames, spk, mem = recorded()
    silent = {**spk, "output": 0 * spk["output"]}
    means = mem["output"].mean(0).argmax(-1).tolist()
    assert ActivityExplorer(frames, silent, mem)._facts["decided"] == [means]
    assert ActivityExplorer(frames, silent)._facts["decided"] == [[None] * 4]
    assert ActivityExplorer(frames, silent, labels=[0] * 4).wrong == [[0, 1, 2, 3]]


def test_classes_have_their_names_in_words():
    frames, spk, mem = recorded()
    explorer = ActivityExplorer(frames, spk, mem, [0, 1, 2, 0], classes=["left", "right", "still"])
    decided = explorer._facts["decided"][0][0]
    assert explorer.figure().axes[2].get_title() == f"network: says {['left', 'right', 'still'][decided]}"
    with pytest.raises(ValueError, match="`classes` must name the classes 0 to 2; got 2"):
        ActivityExplorer(frames, spk, mem, [0, 1, 2, 0], classes=["left", "right"])
    script = """
        import { verdict } from "./activity.js";
        import { describe, describeMany } from "./embedding.js";
        const race = { labels: [0, 1], decided: [[1, 1]], settled: [[2, 2]], names: ["network"], step_ms: 10 };
        const facts = { labels: [0, 1], predictions: [0, 0], classes: ["left", "right"] };
        console.log(JSON.stringify([
          verdict({ ...race, classes: ["left", "right"] }, 0, 0),
          verdict({ ...race, classes: ["0", "1"] }, 0, 1),
          describe(facts, 1), describeMany(facts, [0, 1]),
        ]));
    """
    assert in_node(script) == [
        "network: says right from 20 ms on, it is left (wrong)",
        "network: says 1 from 20 ms on, it is a 1 (right)",
        "recording 1, right, taken for left",
        "2 chosen, 1 of them right: 1 × left, 1 × right",
    ]


def test_bytes_stay_below_the_limit_by_leaving_out_large_membranes():
    frames, spk, mem = recorded(num_steps=25, samples=1)
    spk["conv1"] = np.zeros((25, 1, 64, 34, 34), np.uint8)
    mem["conv1"] = np.zeros((25, 1, 64, 34, 34), np.float32)
    explorer = ActivityExplorer(frames, spk, mem)
    assert sum(map(len, explorer._buffers.values())) < MAX_BYTES
    assert explorer._facts["note"] == "Too large for this view: the membranes of conv1."
    assert "mem0_1" in explorer._buffers


def test_figure_shows_the_chosen_frame_race_and_membranes_of_two_networks():
    frames, spk, mem = recorded()
    other = recorded(1)[1:]
    state = {"sample": 1, "layer": "hidden", "neurons": [4], "time_ms": 30.0}
    explorer = ActivityExplorer(frames, spk, mem, [0, 1, 2, 0], other=other, state=state, step_ms=12.0)
    axes = explorer.figure().axes
    assert axes[0].get_title() == "recording 2,\nstep 2"
    assert axes[1].get_title() == f"hidden: {spk['hidden'][2, 1].sum()} spikes now"
    for ax, network in zip(axes[2:4], (spk, other[0])):
        last = [line.get_ydata()[-1] for line in ax.lines[:3]]
        counts = network["output"][:, 1].sum(0)
        assert last == sorted(counts)  # the winner is drawn last
        assert str(counts.argmax()) in {text.get_text().split()[0] for text in ax.texts}
    assert np.array_equal(axes[4].lines[0].get_ydata(), mem["hidden"][:, 1, 4])


def test_mosaic_keeps_maps_apart_and_marks_what_fires_now():
    now = np.zeros((3, 2, 2))
    now[1, 0, 1] = 1
    picture = mosaic(now, 2 * now)
    assert picture.shape == (5, 5)
    assert np.argwhere(picture == 1).tolist() == [[0, 4]]
    assert mosaic(np.zeros(10), np.zeros(10)).shape == (3, 4)


def test_batch_without_membranes_or_spikes_or_anything_says_so():
    frames, spk, _ = recorded()
    explorer = ActivityExplorer(frames, {name: 0 * one for name, one in spk.items()})
    assert explorer._facts["note"] == "The batch was recorded without membranes."
    assert explorer.figure().axes[2].get_title() == "network: no output spike"
    assert "Nothing was recorded" in ActivityExplorer(None, {}).figure().axes[0].texts[0].get_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frames, spk: {"frames": frames[:, :, :1]}, r"`frames` must be \[T, B, 2, H, W\]"),
        (lambda frames, spk: {"spk": {**spk, "hidden": spk["hidden"][:-1]}}, r"must begin with \[T, B\] = \(6, 4\)"),
        (lambda frames, spk: {"labels": [1]}, "`labels` must be as many as recordings, 4; got 1"),
        (
            lambda frames, spk: {"other": ({"hidden": spk["hidden"]}, None)},
            "`other` must have the layers conv1, hidden",
        ),
        (lambda frames, spk: {"state": {"layer": "conv9"}}, "must be one of 'conv1', 'hidden', 'output'"),
    ],
)
def test_arguments_that_disagree_are_refused(change, message):
    frames, spk, _ = recorded()
    with pytest.raises(ValueError, match=message):
        ActivityExplorer(**{"frames": frames, "spk": spk, **change(frames, spk)})
