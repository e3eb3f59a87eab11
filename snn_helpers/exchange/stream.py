"""A network on a stream: frames or events as they come, the neurons' state carried on, an answer at any time."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snn_helpers._checks import check_choice, check_int
from snn_helpers.events.convert import check_events, check_sensor_size, join_columns
from snn_helpers.events.dtype import EVENT_DTYPE, RecordingError, make_events
from snn_helpers.events.frames import ORIGINS, FrameSpec, bin_frames
from snn_helpers.exchange.direct import call_directly
from snn_helpers.models.network import SpikingNetwork, frame_size
from snn_helpers.models.readout import decide
from snn_helpers.neurons import HiddenState, Listener, reset
from snn_helpers.over_time import InputListener, is_spiking, runner_of

PAUSE_STEPS = 1_000  # the longest pause unless another is asked for
_AT_ONCE = 64  # frames that are binned together


def stream(
    net: nn.Module,
    batch: int = 1,
    step_us: int | None = None,
    sensor_size: Sequence[int] | None = None,
    origin: str = "first",
    max_pause_us: int | None = None,
) -> Stream:
    """Begin a stream through a network; see `Stream`, which takes the same.

    Examples
    --------
    >>> from snn_helpers import SpikingCNN
    >>> live = stream(SpikingCNN(norm="none"), step_us=10_000)
    >>> events = np.array([(3, 4, 0, 1), (5, 4, 25_000, 0)], [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i1")])
    >>> len(live.feed(events)), live.num_steps
    (2, 2)
    """
    return Stream(net, batch, step_us, sensor_size, origin, max_pause_us)


class Stream:
    """Runs a network step by step, by its own code, on what comes; its state is kept between calls.

    The stream has neurons of its own, in eval mode and without gradients: the network, and other streams of it, are not
    disturbed. Weights are the network's own tensors, so that what it learns meanwhile is used. Spikes are those of the
    network's loop over the whole recording, whatever the pieces in which it came.

    Parameters
    ----------
    net : nn.Module
        One of this package's networks, an accelerated one, or a module that computes one time step of neurons that
        keep their state.
    batch : int
        Streams that run beside each other, B, on one clock.
    step_us : int or None
        Length of a time step in µs; to be given where events come instead of frames. A network that was trained on
        frames of other lengths sees another speed: `EventDataset.step_ms` says what they were.
    sensor_size : (W, H) or None
        Pixels of the camera; pooled to what the network takes if they are more. None: what the network takes, which
        only this package's networks say.
    origin : {"first", "zero"}
        Where the first step begins: at the first event, or at time 0 of the clock.
    max_pause_us : int or None
        Longest time without an event, through which the network would have to run empty steps. None: 1,000 steps.

    Raises
    ------
    TypeError, ValueError
        If the network holds its own loop over time or cannot be copied, or a value is out of range.
    """

    def __init__(
        self,
        net: nn.Module,
        batch: int = 1,
        step_us: int | None = None,
        sensor_size: Sequence[int] | None = None,
        origin: str = "first",
        max_pause_us: int | None = None,
    ):
        self._runner = runner_of(net)
        net = self._runner.net
        if not (self._runner.neurons and self._runner.neurons_keep_state):
            raise ValueError(
                f"{type(net).__name__} hands the state of its neurons on in a loop of its own. A stream takes a "
                "network that computes one time step, with neurons of `init_hidden=True`."
            )
        self.batch = check_int("batch", batch, low=1)
        self.step_us = None if step_us is None else check_int("step_us", step_us, low=1)
        self.origin = check_choice("origin", origin, ORIGINS)
        longest = PAUSE_STEPS * (step_us or 1) if max_pause_us is None else max_pause_us
        self.max_pause_us = check_int("max_pause_us", longest, low=1)
        self._frame_size = frame_size(net.image_size) if isinstance(net, SpikingNetwork) else None
        size = self._frame_size if sensor_size is None else sensor_size
        self._sensor_size = None if size is None else check_sensor_size(size)
        if self._frame_size and any(has < needs for has, needs in zip(self._sensor_size, self._frame_size)):
            raise ValueError(
                f"`sensor_size` {self._sensor_size[:2]} is smaller than the frames of {type(net).__name__}, "
                f"{tuple(self._frame_size)}. Give the size of the sensor that it was trained for."
            )
        self._net = _copy(net)
        self._step = getattr(self._net, self._runner.method) if self._runner.method != "forward" else self._net
        self._shape: tuple[int, ...] | None = None  # of a frame, from the first one on
        self._device = next((weight.device for weight in net.parameters()), torch.device("cpu"))
        self.reset()

    def reset(self, streams: Any = None) -> None:
        """Begin anew: all streams and the clock, or the state and the answer of some streams alone.

        Parameters
        ----------
        streams : index, list of indices or mask of B, or None
            Which ones; None for all.
        """
        if streams is not None:
            chosen = self._chosen(streams)
            for tensor in (*self._states(), self._counts, self._membranes):
                if isinstance(tensor, Tensor) and tensor.dim() and len(tensor) == self.batch:
                    tensor[torch.from_numpy(chosen)] = 0
            if self._waiting is not None:
                for index in chosen:
                    self._waiting[index] = []
            return
        reset(self._net)
        self.num_steps = 0
        self._counts = self._membranes = None
        self._zero = 0  # µs on the events' clock from which the next two count
        self._begin = self._seen = None  # µs: of the step that has begun; up to which all events are known
        self._waiting: list[list[np.ndarray]] | None = None  # pieces of the step that has begun, for each stream

    def _chosen(self, streams: Any) -> np.ndarray:
        try:
            asked = np.array([*streams] if isinstance(streams, tuple | set | range) else streams)
            if asked.dtype.kind in "iu" or (asked.dtype == bool and asked.shape == (self.batch,)):
                return np.atleast_1d(np.arange(self.batch)[asked])
        except (IndexError, ValueError):
            pass
        raise ValueError(f"`streams` must be numbers below {self.batch}, or a mask of {self.batch}; got {streams!r}.")

    def _states(self) -> list[Tensor]:
        found: list[Tensor] = []
        for module in self._net.modules():
            if isinstance(module, HiddenState):
                found += module.hidden
            elif is_spiking(module):
                found += [module._buffers[name] for name in module._non_persistent_buffers_set]
        return found

    @torch.no_grad()
    def step(self, frame: Tensor | np.ndarray) -> Any:
        """Run one step on a frame [B, ...]: [B, C, H, W] of event counts for this package's networks.

        Returns
        -------
        Tensor, or nest of tensors
            What the network returns for one step: for this package's networks output spikes and membranes, each
            [B, num_classes].

        Raises
        ------
        ValueError
            If the frame is not of the shape of those before, or of that which the network was built for.
        RecordingError
            If events wait for the end of the step that has begun.
        """
        if self._waiting is not None and any(map(len, self._waiting)):
            raise RecordingError("`frame`: events wait for the end of the step that has begun. Call `flush()` first.")
        if not isinstance(frame, Tensor | np.ndarray):
            raise TypeError(f"`frame` must be a tensor or an array [B, ...]; got {type(frame).__name__}.")
        frame = torch.as_tensor(frame, device=self._device)
        if frame.is_floating_point() and bool(frame.isnan().any()):
            raise ValueError("`frame` contains NaN, which neurons would keep from then on.")
        return self._run(frame)

    def _run(self, frame: Tensor) -> Any:
        if self._shape is None:
            self._check_first(frame)
        elif tuple(frame.shape) != self._shape:
            raise ValueError(f"`frame` must be {list(self._shape)}, as before; got {list(frame.shape)}.")
        output = self._step(self._runner.as_step(frame))
        spk, mem = output[:2] if isinstance(output, tuple | list) and len(output) > 1 else (output, None)
        if isinstance(spk, Tensor):
            self._counts = spk.clone() if self._counts is None else self._counts + spk
        if isinstance(mem, Tensor):
            self._membranes = mem.clone() if self._membranes is None else self._membranes + mem
        self.num_steps += 1
        if self._begin is not None:
            self._begin += self.step_us
            self._seen = max(self._seen, self._begin)
        return output

    def _check_first(self, frame: Tensor) -> None:
        if frame.dim() < 1 or len(frame) != self.batch:
            raise ValueError(f"`frame` must be [B, ...] of {self.batch} streams (`batch`); got {list(frame.shape)}.")
        if isinstance(self._net, SpikingNetwork):
            self._net._check_frames(frame[None])
        elif self._runner.loops(frame[None]):
            raise ValueError(
                f"{type(self._net).__name__} holds its own loop over time. A stream takes a network that computes one "
                "time step."
            )
        self._shape = tuple(frame.shape)

    @torch.no_grad()
    def feed(self, events: Any, until_us: int | None = None, unit: str | None = None) -> list[Any]:
        """Take events as they come, and run the steps that are over.

        Parameters
        ----------
        events : structured array [N] with fields x, y, t (µs), p; of several streams a sequence of B of them
            Those since the last call, each stream's sorted, or what `to_events` takes; a stream may have none.
        until_us : int or None
            Time before which no event is to come, in any stream; None: that of the last event.
        unit : {'s', 'ms', 'us', 'ns'} or None
            Of the events' times; None for µs, and fractions of them are refused.

        Returns
        -------
        list
            What each step that is over returned, in order; see `step`.

        Raises
        ------
        RecordingError
            If time goes back, events lie outside the sensor, or a pause is longer than `max_pause_us`. Nothing has
            changed then.
        ValueError
            If `step_us` or `sensor_size` is missing, or there are not as many arrays as streams.
        """
        streams = self._joined(events, unit)
        for one in streams:
            back = np.flatnonzero(one["t"][1:] < one["t"][:-1])
            if len(back):
                early, late = (int(time) + self._zero for time in one["t"][[back[0] + 1, back[0]]])
                raise RecordingError(
                    f"`events`: time runs backwards at event {back[0] + 1}, to {early:,} µs from {late:,} µs. Sort "
                    "each piece by its times."
                )
        times = np.sort(np.concatenate([one["t"] for one in streams]))
        if self._begin is None and self.origin == "first" and not len(times):
            return []  # nothing has begun
        begin, seen = self._begin, self._seen
        if begin is None:
            begin = seen = 0
        until = (
            check_int("until_us", until_us) - self._zero
            if until_us is not None
            else int(times[-1])
            if len(times)
            else seen
        )
        first, last = (int(times[0]), int(times[-1])) if len(times) else (until, until)
        if last > until:
            raise RecordingError(f"`until_us`: {until_us:,} µs lie before an event at {last + self._zero:,} µs.")
        if min(first, until) < seen:
            early, late = (time + self._zero for time in (min(first, until), seen))
            raise RecordingError(
                f"`events`: time goes back: {early:,} µs come after {late:,} µs. Begin anew with `reset()`."
            )
        pause = max(first - seen, until - last, int(np.diff(times).max(initial=0)))
        if pause > self.max_pause_us and self._begin is None and self.origin == "zero":
            raise RecordingError(
                f"`origin`: the first time, {first:,} µs, lies more than {self.max_pause_us:,} µs (`max_pause_us`) "
                "after 0. Take origin='first', or allow more."
            )
        if pause > self.max_pause_us:
            raise RecordingError(
                f"`events`: a pause of {pause:,} µs is longer than {self.max_pause_us:,} µs (`max_pause_us`). Begin "
                "anew with `reset()`, or allow more."
            )
        streams = [check_events(one, False, "us", self._sensor_size, False, "events") for one in streams]
        self._begin, self._seen = begin, until
        self._waiting = self._waiting or [[] for _ in streams]
        for pieces, one in zip(self._waiting, streams):
            if len(one):
                pieces.append(one.copy())  # arrays may be used again
        return self._run_steps((until - begin) // self.step_us)

    def flush(self) -> list[Any]:
        """Run the step that has begun on what has come of it; as `feed`, whose clock goes on to its end."""
        if self._waiting is None or not any(map(len, self._waiting)):
            return []
        return self._run_steps(1)

    @torch.no_grad()
    def _run_steps(self, steps: int) -> list[Any]:
        outputs = []
        while steps:
            number = min(steps, _AT_ONCE)
            for frame in torch.from_numpy(self._bin(number)).to(self._device):
                outputs.append(self._run(frame))
            steps -= number
        return outputs

    def _bin(self, steps: int) -> np.ndarray:
        """Count what waits in so many steps, uint8 [steps, B, 2, H, W]; events after them go on waiting."""
        end = self._begin + steps * self.step_us
        waiting = [np.concatenate(pieces) if pieces else np.empty(0, EVENT_DTYPE) for pieces in self._waiting]
        places = [int(np.searchsorted(one["t"], end)) for one in waiting]
        ready = np.concatenate([one[:place] for one, place in zip(waiting, places)])
        self._waiting = [[one[place:]] if place < len(one) else [] for one, place in zip(waiting, places)]
        columns = [np.ascontiguousarray(ready[field]) for field in "xytp"]
        columns[2] = columns[2] - self._begin
        spec = FrameSpec(steps, window_us=self.step_us, origin="zero", size=self._frame_size or None)
        offsets, indices = np.cumsum([0, *places]), np.arange(self.batch)
        return bin_frames(tuple(columns), offsets, indices, self._sensor_size, spec, checked=True)

    def _joined(self, events: Any, unit: str | None) -> list[np.ndarray]:
        if self.step_us is None or self._sensor_size is None:
            missing = "step_us" if self.step_us is None else "sensor_size"
            raise ValueError(f"`{missing}`: events become frames only where it is given; say it to `stream`.")
        if self.batch == 1 and not (isinstance(events, list | tuple) and len(events) == 1):
            events = [events]
        if not isinstance(events, list | tuple) or len(events) != self.batch:
            told = len(events) if isinstance(events, list | tuple) else type(events).__name__
            raise ValueError(f"`events` must be a list of {self.batch} arrays, one a stream; got {told}.")
        joined = [join_columns(one, None, unit, "events") for one in events]
        if self._begin is None and self.origin == "first":
            self._zero = min((int(one["t"].min()) for one in joined if len(one)), default=0)
        # The clock counts from the first event, also where its times are counted from 1970.
        return [
            make_events(one["x"], one["y"], one["t"] - self._zero, one["p"]) if self._zero else one for one in joined
        ]

    def answer(self) -> Tensor:
        """Return the class of each stream so far, int64 [B]; see `models.readout.decide`.

        Raises
        ------
        ValueError
            If no step has run yet.
        TypeError
            If the network does not answer output spikes [B, classes].
        """
        if self._counts is None:
            raise ValueError("no step has run yet: there is no answer.")
        mem = self._counts * 0 if self._membranes is None else self._membranes / self.num_steps
        return decide((self._counts[None], mem[None]))


def _copy(net: nn.Module) -> nn.Module:
    """Copy a network to run beside it: weights and statistics are the same tensors, its neurons' states are not."""
    memo: dict[int, Any] = {}
    for module in net.modules():
        memo |= {id(weight): weight for weight in module._parameters.values()}
        if not is_spiking(module):  # statistics of normalisations belong to the weights that they came with
            kept = module._buffers.keys() - module._non_persistent_buffers_set
            memo |= {id(module._buffers[name]): module._buffers[name] for name in kept}
        for value in (*module._buffers.values(), *vars(module).values()):
            if isinstance(value, Tensor) and id(value) not in memo:
                memo[id(value)] = value.detach().clone()  # a state may hang on autograd's graph
    try:
        net = copy.deepcopy(net, memo).eval()
    except Exception as err:  # whatever a network of others holds
        raise TypeError(f"{type(net).__name__} cannot be copied, so that no stream can run beside it: {err}") from err
    for module in net.modules():  # who listens to the network does not listen to its streams
        for hooks, kind in ((module._forward_hooks, Listener), (module._forward_pre_hooks, InputListener)):
            for key in [key for key, hook in hooks.items() if isinstance(hook, kind)]:
                del hooks[key]
    call_directly(net)
    return net
