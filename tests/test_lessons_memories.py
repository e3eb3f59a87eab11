"""Networks that differ in where they keep what they have seen: what each can know, and the study of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from snntorch import utils

from snn_helpers import lessons
from snn_helpers.lessons.memories import delay, memory_layer

STUDY = json.loads((Path(__file__).parents[1] / "docs/motion.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def frames():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 3, (12, 4, 2, 16, 16), generator=generator, dtype=torch.uint8)


def network(kind, **options):
    torch.manual_seed(0)
    return lessons.MemoryNetwork(kind, 3, (2, 16, 16), **options).eval()


@pytest.mark.parametrize("kind", lessons.MEMORIES)
def test_only_the_memory_knows_the_order_of_frames(kind, frames):
    net = network(kind)
    with torch.no_grad():
        in_order, backwards = net(frames).mean(0), net(frames.flip(0)).mean(0)
    assert torch.allclose(in_order, backwards, atol=1e-5) == (kind == "none")


@pytest.mark.parametrize("kind", ["none", "short", "leaky", "mixed", "adaptive", "recurrent"])
def test_memory_over_time_fires_as_its_loop_does(kind):
    torch.manual_seed(0)
    layer = memory_layer(kind, 20).eval()
    inputs = 4 * torch.rand(9, 3, 20)
    with torch.no_grad():
        expected = layer(inputs)
        if hasattr(layer.neurons, "reset_hidden"):
            layer.neurons.reset_hidden()
        else:
            utils.reset(layer)
        looped = torch.stack([layer.neurons(layer.norm(layer.weights(step))) for step in inputs])
    assert 0 < expected.mean() < 1
    assert torch.equal(looped, expected)


def test_networks_have_about_as_many_parameters():
    counts = [sum(p.numel() for p in lessons.MemoryNetwork(kind).parameters()) for kind in lessons.MEMORIES]
    assert max(counts) < 1.02 * min(counts)


def test_delay_fills_with_zeros_and_loses_what_comes_too_late():
    features = torch.arange(1.0, 5.0)
    assert delay(features, 1).tolist() == [0, 1, 2, 3]
    assert delay(features, 0).tolist() == features.tolist()
    assert delay(features, 9).tolist() == [0, 0, 0, 0]


def test_delayed_maps_arrive_later_in_their_groups(frames):
    net = network("delayed", delays=(0, 3))
    with torch.no_grad():
        features = net.features(frames)
        inputs = net.inputs(features)
    size = inputs.shape[2] // 2
    assert torch.equal(inputs[:, :, :size], features[:, :, ::2].flatten(2))
    assert torch.equal(inputs[3:, :, size:], features[:-3, :, 1::2].flatten(2))
    assert not inputs[:3, :, size:].any()


def test_training_learns_a_class_that_a_single_frame_tells(frames):
    bright = frames.clone()
    labels = torch.tensor([0, 1, 2, 0])
    for recording, label in enumerate(labels):
        bright[:, recording, :, 5 * int(label) : 5 * int(label) + 5] += 9
    net = network("none", pool=1)
    losses = lessons.train_memory(net, bright, labels, epochs=30)
    assert losses[-1] < losses[0] / 2
    assert not net.training
    scores = lessons.scores_over_time(net, bright)
    assert lessons.answers_so_far(scores)[-1].tolist() == labels.tolist()
    elapsed, accuracy, low, high = lessons.accuracy_over_time(scores, labels)
    assert (elapsed[0], elapsed[-1], accuracy[-1], high[-1]) == (15, 180, 1, 1)
    assert (low < accuracy).all()


def test_spoil_sees_every_batch(frames):
    seen = []

    def spoil(batch, rng):
        seen.append(batch.shape)
        return batch

    lessons.train_memory(network("none"), frames, torch.tensor([0, 1, 2, 0]), epochs=2, spoil=spoil)
    assert seen == [frames.shape] * 2


def test_unknown_memory_is_refused():
    with pytest.raises(ValueError, match="`memory` must be one of 'none', 'short'"):
        lessons.MemoryNetwork("lstm")


def test_fading_copy_loses_more_and_more_events(frames):
    kept = lessons.fading_copy(frames).float().sum((1, 2, 3, 4)) / frames.float().sum((1, 2, 3, 4))
    assert kept[0] == 1
    assert kept[-1] == pytest.approx(0.4, abs=0.05)
    assert (np.diff(kept[::4]) < 0).all()


def test_one_digit_in_all_orders_has_the_same_sums():
    recordings = lessons.one_digit_in_all_orders(7)
    first, *others = [counts for _, counts in recordings.values()]
    assert len(others) == 5
    assert first.sum() == len(recordings["right, up, down-left"][0]) > 1_000
    assert all(np.array_equal(first, other) for other in others)


def test_stored_study_is_the_measured_one():
    stored = lessons.stored_memories()
    measured = {
        (row["setting"], row["network"]): [right / STUDY["n"] for right in row["right"]] for row in STUDY["rows"]
    }
    kept = {(setting, name): list(a) for setting, rows in stored.accuracies.items() for name, a in rows.items()}
    assert kept == measured
    assert stored.n == STUDY["n"]
    assert STUDY["split"] == "test"
    mean, low, high = stored.difference("short gaps", "delayed", "leaky")
    gaps = np.subtract(measured["short gaps", "delayed"], measured["short gaps", "leaky"])
    assert mean == pytest.approx(100 * gaps.mean())
    assert low < mean < high
