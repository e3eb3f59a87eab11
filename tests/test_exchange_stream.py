"""Streams: pieces of any size give the whole's spikes, many side by side, and the network is left alone."""

import warnings
from functools import partial

import numpy as np
import pytest
import snntorch as snn
import torch
from torch import nn

from snn_helpers import ALIF, Leaky, RLeaky, SpikingCNN, SpikingResNet, Synaptic, accelerate, stream
from snn_helpers.activity import firing_fractions
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError
from snn_helpers.events.frames import FrameSpec, bin_frames
from snn_helpers.models.readout import decide_so_far

STEP_US = 20_000


def network(kind=SpikingCNN, **settings):
    torch.manual_seed(0)
    return kind(engine="snntorch", norm="none", **settings).eval()


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 5, stride=3),
        snn.Leaky(beta=0.8, init_hidden=True, reset_mechanism="zero"),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(400, 6),
        ALIF(init_hidden=True),
        nn.Linear(6, 4),
        snn.Synaptic(alpha=0.7, beta=0.9, threshold=0.1, init_hidden=True, output=True),
    )


def counts(steps=9, batch=3):
    generator = torch.Generator().manual_seed(1)
    return torch.poisson(torch.full((steps, batch, 2, 34, 34), 0.4), generator).to(torch.uint8)


def recording(seed=0):
    """Return events of 300 ms, as many in each frame as N-MNIST has."""
    rng = np.random.default_rng(seed)
    events = made_events(np.sort(rng.integers(500, 300_000, 3_000)))
    for field, end in (("x", 34), ("y", 34), ("p", 2)):
        events[field] = rng.integers(0, end, len(events))
    return events


def frames_of(events, num_steps, window_us, size=None):
    columns = tuple(np.ascontiguousarray(events[field]) for field in "xytp")
    spec = FrameSpec(num_steps, window_us=window_us, size=size)
    return torch.from_numpy(bin_frames(columns, np.array([0, len(events)]), np.array([0]), (34, 34, 2), spec))


def made_events(times):
    events = np.zeros(len(times), EVENT_DTYPE)
    events["t"], events["x"] = times, np.arange(len(times)) % 34
    return events


@pytest.mark.parametrize("kind", [SpikingCNN, SpikingResNet, partial(SpikingResNet, skip="membrane")])
def test_frames_one_by_one_give_the_spikes_of_all_at_once(kind):
    net, frames = network(kind), counts()
    with torch.no_grad():
        whole = net(frames)
    live = net.stream(batch=3)
    steps = [live.step(frame) for frame in frames]
    assert torch.equal(torch.stack([spk for spk, _ in steps]), whole.spk_rec)
    assert torch.equal(torch.stack([mem for _, mem in steps]), whole.mem_rec)
    assert torch.equal(live.answer(), decide_so_far(*whole)[-1])
    assert whole.spk_rec.any()


def test_normalised_network_on_the_fast_engine_answers_the_same():
    torch.manual_seed(0)
    net = SpikingCNN().eval()  # sums in another order: spikes could differ within rounding of the threshold
    frames = counts()
    with torch.no_grad():
        whole = net(frames)
    live = net.stream(batch=3)
    spk_rec = torch.stack([live.step(frame)[0] for frame in frames])
    assert (spk_rec != whole.spk_rec).float().mean() < 1e-3


@pytest.mark.parametrize("wrap", [lambda net: net, accelerate])
def test_any_network_of_one_step_streams_in_eval_mode_and_is_left_alone(wrap):
    net, frames = small(), counts()
    net.train()
    net(frames[0].float())  # the network has a state of its own, on autograd's graph
    kept = net[1].mem, net[7].syn, net[5].hidden
    live, other = stream(wrap(net), batch=3), stream(net, batch=3)
    steps = [live.step(frame)[0] for frame in frames]
    again = [other.step(frame)[0] for frame in frames]
    assert net.training
    assert (net[1].mem, net[7].syn, net[5].hidden) == kept
    expected = accelerate(small().eval(), engine="snntorch")(frames)[0]
    assert torch.equal(torch.stack(steps), expected)
    assert torch.equal(torch.stack(again), expected)
    assert expected.any()


def test_what_a_module_does_beside_its_operation_is_done_in_a_stream_too():
    with warnings.catch_warnings(action="ignore"):
        made_anew = torch.nn.utils.weight_norm(nn.Conv2d(2, 3, 3))  # by a hook, from what is learned
    rest = (nn.BatchNorm2d(3), nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 5))
    net = nn.Sequential(made_anew, Leaky(init_hidden=True), *rest, RLeaky(5, init_hidden=True, output=True)).eval()
    seen = []
    net[4].register_forward_hook(lambda module, args, output: seen.append(output))
    live, frames = stream(net, batch=3), counts()
    with torch.no_grad():
        net[0].weight_g.mul_(2.0)
        expected = [net(frame.float()) for frame in frames]
    seen.clear()
    for frame, (spk, mem) in zip(frames, expected, strict=True):
        assert all(map(torch.equal, live.step(frame), (spk, mem)))
    assert len(seen) == len(frames)
    assert torch.stack([spk for spk, _ in expected]).any()


def test_stream_uses_the_weights_that_its_network_has_now_and_tells_none_of_its_listeners():
    net, frames = network(), counts()
    with torch.no_grad():
        with firing_fractions(net) as heard:
            live = net.stream(batch=3)
            live.step(frames[0])
        assert not heard
        live.reset()
        before = live.step(frames[0])[1]
        net.output.weights.bias.add_(1.0)
        live.reset()
        assert torch.allclose(live.step(frames[0])[1], before + 1)


@pytest.mark.parametrize("pieces", [1, 7, 400])
def test_events_in_pieces_of_any_size_give_the_spikes_of_the_whole_recording(pieces):
    net, events = network(), recording()
    frames = frames_of(events, int(events["t"][-1] - events["t"][0]) // STEP_US + 1, STEP_US)
    with torch.no_grad():
        whole = net(frames)
    live = net.stream(step_us=STEP_US)
    steps = [step for piece in np.array_split(events, pieces) for step in live.feed(piece)]
    steps += live.flush()
    assert torch.equal(torch.stack([spk for spk, _ in steps]), whole.spk_rec)
    torch.testing.assert_close(torch.stack([mem for _, mem in steps]), whole.mem_rec)
    assert whole.spk_rec.any()


def test_streams_side_by_side_are_as_alone_and_one_begins_anew():
    net, streams = network(), [recording(seed) for seed in range(3)]
    live = net.stream(batch=3, step_us=STEP_US, origin="zero")
    alone = [net.stream(step_us=STEP_US, origin="zero") for _ in streams]
    for edge in range(0, 300_000, 50_000):
        now = [events[(events["t"] >= edge) & (events["t"] < edge + 50_000)] for events in streams]
        together = live.feed(now, until_us=edge + 50_000)
        for index, one in enumerate(alone):
            for mine, all_of_them in zip(one.feed(now[index], until_us=edge + 50_000), together, strict=True):
                torch.testing.assert_close(mine[1][0], all_of_them[1][index])
    assert live.answer().tolist() == [int(one.answer()) for one in alone]
    live.reset([1])
    fresh = net.stream(step_us=STEP_US)
    frame = torch.ones(3, 2, 34, 34)
    live.flush()
    live.reset([1])
    torch.testing.assert_close(live.step(frame)[1][1], fresh.step(frame[:1])[1][0])


def test_larger_cameras_are_pooled_to_what_the_network_takes():
    net, events = network(image_size=17), recording()
    frames = frames_of(events, 3, 100_000, size=(17, 17))
    live = net.stream(step_us=100_000, sensor_size=(34, 34))
    mem = [mem for _, mem in live.feed(events) + live.flush()]
    with torch.no_grad():
        torch.testing.assert_close(torch.stack(mem), net(frames).mem_rec)


def test_times_since_1970_count_from_the_first_event():
    net = network()
    live, late = (net.stream(step_us=1_000) for _ in range(2))
    times = np.array([10, 1_500, 2_600, 4_700])
    early = live.feed(made_events(times[:2])) + live.feed(made_events(times[2:]))
    since = late.feed(made_events(times[:2] + 10**15)) + late.feed(made_events(times[2:] + 10**15))
    assert len(early) == len(since) == 4
    assert all(torch.equal(a[1], b[1]) for a, b in zip(early, since))
    with pytest.raises(RecordingError, match=r"time goes back: 1,000,000,000,000,000 µs come after"):
        late.feed(made_events([10**15]))


def test_array_that_is_filled_anew_for_each_piece_changes_nothing_that_waits():
    live, other = (network().stream(step_us=1_000, origin="zero") for _ in range(2))
    buffer = made_events([100, 900])
    live.feed(buffer)
    other.feed(buffer.copy())
    buffer["t"], buffer["x"] = [1_000, 2_000], 30
    for mine, others in zip(live.feed(buffer), other.feed(buffer.copy()), strict=True):
        assert torch.equal(mine[1], others[1])


def test_nothing_has_happened_before_the_first_event():
    live = network().stream(step_us=1_000)
    assert live.feed(made_events([])) == live.feed(made_events([]), until_us=5_000) == live.flush() == []
    with pytest.raises(ValueError, match="no step has run yet"):
        live.answer()
    with pytest.raises(RecordingError, match="`until_us`: 6,000 µs lie before an event at 7,000 µs"):
        live.feed(made_events([7_000]), until_us=6_000)
    assert len(live.feed(made_events([7_000]), until_us=9_500)) == 2  # steps begin at the first event
    assert len(network().stream(step_us=1_000, origin="zero").feed(made_events([]), until_us=5_000)) == 5


@pytest.mark.parametrize(
    ("times", "until", "message"),
    [
        ([900], None, "time goes back: 900 µs come after 5,000 µs"),
        ([], 4_000, "time goes back: 4,000 µs come after 5,000 µs"),
        ([5_500], 5_200, "`until_us`: 5,200 µs lie before an event at 5,500 µs"),
        ([6_000, 5_500], None, "time runs backwards at event 1"),
        ([2_000_000], None, r"a pause of 1,995,000 µs is longer than 1,000,000 µs \(`max_pause_us`\)"),
    ],
)
def test_events_that_cannot_follow_are_refused_and_change_nothing(times, until, message):
    live, other = (network().stream(step_us=1_000, origin="zero") for _ in range(2))
    for one in (live, other):
        one.feed(made_events([0, 5_000]))
    with pytest.raises(RecordingError, match=message):
        live.feed(made_events(times), until)
    (mine,), (others,) = (one.feed(made_events([6_500])) for one in (live, other))
    assert torch.equal(mine[1], others[1])


def test_what_does_not_fit_is_refused():
    net = network()
    outside = made_events([1])
    outside["x"] = 40
    with pytest.raises(RecordingError, match=r"at \(40, 0\), outside the 34 x 34 sensor"):
        net.stream(step_us=1_000).feed(outside)
    with pytest.raises(ValueError, match=r"must end in \[C, H, W\] = \[2, 34, 34\]"):
        net.stream().step(torch.zeros(1, 2, 30, 30))
    with pytest.raises(ValueError, match=r"of 2 streams \(`batch`\); got \[1, 2, 34, 34\]"):
        net.stream(batch=2).step(torch.zeros(1, 2, 34, 34))
    with pytest.raises(ValueError, match="`step_us`: events become frames only where it is given"):
        net.stream().feed(outside)
    with pytest.raises(ValueError, match="`events` must be a list of 2 arrays"):
        net.stream(batch=2, step_us=1_000).feed(outside)
    live = stream(small())
    live.step(torch.zeros(1, 2, 34, 34))
    with pytest.raises(ValueError, match=r"`frame` must be \[1, 2, 34, 34\], as before"):
        live.step(torch.zeros(1, 2, 35, 35))
    with pytest.raises(ValueError, match="`sensor_size`: events become frames"):
        stream(small(), step_us=1_000).feed(outside)
    waiting = net.stream(step_us=1_000)
    waiting.feed(made_events([1]))
    with pytest.raises(RecordingError, match="events wait for the end of the step"):
        waiting.step(torch.zeros(1, 2, 34, 34))


class OwnLoop(nn.Module):
    def __init__(self, init_hidden):
        super().__init__()
        self.weights, self.init_hidden = nn.Linear(4, 2), init_hidden
        self.neurons = snn.Leaky(beta=0.9, init_hidden=init_hidden)

    def forward(self, frames):
        mem = self.neurons.reset_mem()
        spk_rec = []
        for frame in frames:
            cur = self.weights(frame)
            spk, mem = (self.neurons(cur), None) if self.init_hidden else self.neurons(cur, mem)
            spk_rec.append(spk)
        return torch.stack(spk_rec)


def test_network_with_a_loop_of_its_own_is_refused():
    with pytest.raises(ValueError, match="OwnLoop hands the state of its neurons on"):
        stream(OwnLoop(False))
    with pytest.raises(ValueError, match="OwnLoop holds its own loop over time"):
        stream(OwnLoop(True)).step(torch.zeros(1, 4))


def test_own_neurons_of_one_layer_answer_by_spikes_alone():
    net = nn.Sequential(nn.Linear(4, 3), Synaptic(init_hidden=True), nn.Linear(3, 2), Leaky(init_hidden=True))
    live = stream(net, batch=2)
    live.step(torch.ones(2, 4))
    assert live.answer().shape == (2,)


def test_stream_follows_what_the_network_learns_and_resets_what_was_asked():
    net = SpikingCNN().train()
    live, frames = stream(net, batch=2), torch.randint(0, 4, (4, 2, 2, 34, 34)).float()
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    for _ in range(3):
        optimizer.zero_grad()
        net(frames).mem_rec.sum().backward()
        optimizer.step()
    expected = net.eval()(frames).spk_rec
    assert all(torch.equal(live.step(frame)[0], one) for frame, one in zip(frames, expected))
    for which in (True, 2, [0.5], [True, False, True], (0, 5)):
        with pytest.raises(ValueError, match=r"`streams` must be numbers below 2, or a mask of 2; got"):
            live.reset(which)
    live.reset((0, 1))
    assert all(not state.any() for state in live._states())


def test_sensor_smaller_than_the_networks_frames_is_refused():
    with pytest.raises(ValueError, match=r"`sensor_size` .* is smaller than the frames of SpikingCNN, \(34, 34\)"):
        stream(SpikingCNN(), step_us=1000, sensor_size=(16, 16))


def test_what_is_no_time_no_frame_and_no_network_is_refused():
    live = stream(SpikingCNN(norm="none"), step_us=1000)
    for until_us in ("x", 5000.5, float("nan")):
        with pytest.raises(TypeError, match="`until_us` must be a whole number"):
            live.feed(np.array([(1, 1, 0, 1)], EVENT_DTYPE), until_us=until_us)
    with pytest.raises(ValueError, match="`frame` contains NaN, which neurons would keep"):
        live.step(torch.full((1, 2, 34, 34), torch.nan))
    with pytest.raises(RecordingError, match=r"`origin`: the first time, .* Take origin='first'"):
        stream(SpikingCNN(norm="none"), step_us=1000, origin="zero").feed(made_events([10**15]))
    with pytest.raises(TypeError, match="`frame` must be a tensor or an array"):
        live.step("x")
    with pytest.raises(TypeError, match=r"`net` must be an nn\.Module"):
        stream(SpikingCNN)


def test_times_in_seconds_are_converted_where_it_is_said_and_refused_else():
    events = recording()
    columns = {field: events[field] for field in "xyp"} | {"t": events["t"] / 1e6}
    with pytest.raises(RecordingError, match=r"Seconds\? Say unit='s'"):
        network().stream(step_us=STEP_US).feed(columns)
    with pytest.raises(ValueError, match="`unit` must be"):
        network().stream(step_us=STEP_US).feed(columns, unit="min")
    said, whole = (network().stream(step_us=STEP_US) for _ in range(2))
    for one, other in zip(said.feed(columns, unit="s"), whole.feed(events), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
