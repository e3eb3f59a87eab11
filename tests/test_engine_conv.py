"""The event-driven convolution alone equals torch's: any window, stride, padding, dilation, groups; 1-D too."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from snn_helpers.engine import cpu
from snn_helpers.engine.spikes import Spikes


def random_counts(*shape, share=0.2, highest=3):
    return (torch.randint(1, highest + 1, shape) * (torch.rand(shape) < share)).to(torch.uint8)


def close(ours, theirs, rel=1e-5):
    """Hold a result to its size as a whole: single entries sum terms that nearly cancel."""
    return torch.linalg.vector_norm(ours - theirs) <= rel * torch.linalg.vector_norm(theirs) + 1e-12


def assert_as_torch(count, weight, bias, **options):
    """Assert that currents and all gradients are those of torch in float64."""
    path = torch.zeros(count.shape, requires_grad=True)
    ours = cpu.conv(Spikes(count, path), weight, bias, **options)
    convolve = F.conv2d if weight.dim() == 4 else F.conv1d
    leaves = [count.double(), weight.double(), *([] if bias is None else [bias.double()])]
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    frames, *weights = leaves
    theirs = convolve(frames.flatten(0, 1), *weights, **options).unflatten(0, count.shape[:2])
    assert ours.shape == theirs.shape
    assert close(ours.double(), theirs)
    up = torch.randn_like(theirs)
    our_leaves = [path, weight, *([] if bias is None else [bias])]
    our_grads, grads = torch.autograd.grad(ours, our_leaves, up.float()), torch.autograd.grad(theirs, leaves, up)
    for one, other in zip(our_grads, grads, strict=True):
        assert one.shape == other.shape
        assert close(one.double(), other)
    return ours


@st.composite
def geometries(draw, sides):
    """Draw a window with its options, and an image in which it has room."""
    each = st.tuples(*[st.integers(1, 7)] * sides)
    window, stride = draw(each), draw(st.tuples(*[st.integers(1, 4)] * sides))
    padding, dilation = draw(st.tuples(*[st.integers(0, 8)] * sides)), draw(st.tuples(*[st.integers(1, 3)] * sides))
    room = (max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(window, padding, dilation))
    size = tuple(least + draw(st.integers(0, 6)) for least in room)
    groups = draw(st.sampled_from([1, 1, 2, 3, "channels"]))
    channels = draw(st.integers(1, 4)) if groups == "channels" else groups * draw(st.integers(1, 3))
    groups = channels if groups == "channels" else groups
    n_out = groups * draw(st.sampled_from([1, 2, 5, 20]))
    return window, size, channels, n_out, {
        "stride": stride, "padding": padding, "dilation": dilation, "groups": groups
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 2).flatmap(geometries), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(0, 2**16)
)
def test_convolution_of_any_geometry_equals_torch(geometry, num_steps, batch, has_bias, seed):
    window, size, channels, n_out, options = geometry
    torch.manual_seed(seed)
    count = random_counts(num_steps, batch, channels, *size)
    weight = torch.randn(n_out, channels // options["groups"], *window).requires_grad_()
    assert_as_torch(count, weight, torch.randn(n_out).requires_grad_() if has_bias else None, **options)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.sampled_from([1, 3, 33]), st.booleans(), st.integers(0, 2**16))
def test_pool_of_counts_equals_torch_to_the_last_winner(height, width, channels, spikes, seed):
    torch.manual_seed(seed)
    count = random_counts(3, 2, channels, height, width, share=0.4, highest=1 if spikes else 3)
    path, frames = torch.zeros(count.shape, requires_grad=True), count.float().requires_grad_()
    ours, theirs = cpu.max_pool(Spikes(count, path)), F.max_pool2d(frames.flatten(0, 1), 2).unflatten(0, (3, 2))
    up = torch.randn_like(theirs)
    assert torch.equal(ours.float(), theirs)
    assert torch.equal(
        *(torch.autograd.grad(out, leaf, up)[0] for out, leaf in ((ours.float(), path), (theirs, frames)))
    )
    assert cpu.max_pool(Spikes(count)).path is None


def test_images_that_leave_the_cache_are_summed_band_by_band():
    torch.manual_seed(0)
    count = random_counts(1, 1, 3, 90, 70, share=0.3)
    assert_as_torch(count, torch.randn(64, 3, 3, 3).requires_grad_(), None, padding=1)
    assert_as_torch(count, torch.randn(256, 3, 5, 5).requires_grad_(), None, stride=2, padding=3)


def test_options_may_be_single_numbers_and_steps_may_be_empty():
    torch.manual_seed(0)
    count = random_counts(4, 2, 3, 9, 7)
    count[1] = 0
    weight = torch.randn(6, 3, 3, 3).requires_grad_()
    ours = assert_as_torch(count, weight, None, stride=2, padding=1)
    assert not ours[1].any()
    assert ours[0].any()
    assert_as_torch(count[:1] * 0, weight, torch.ones(6, requires_grad=True), stride=3, dilation=2, padding=2)
    assert torch.equal(ours, cpu.conv(count.float(), weight, stride=(2, 2), padding=[1, 1]))


def test_counts_of_spikes_that_have_been_counted_are_not_counted_again():
    torch.manual_seed(0)
    count, weight = random_counts(3, 2, 2, 8, 8), torch.randn(4, 2, 3, 3)
    each = count.flatten(2).sum(2)
    assert torch.equal(
        cpu.conv(Spikes(count, events=(int(each.max()), int(each.sum()))), weight), cpu.conv(count, weight)
    )


@pytest.mark.parametrize("groups", [1, 6])
def test_convolution_is_bit_equal_for_any_number_of_threads(groups):
    torch.manual_seed(0)
    count, weight = random_counts(5, 3, 6, 12, 12), torch.randn(12, 6 // groups, 3, 3).requires_grad_()
    before, results = torch.get_num_threads(), []
    try:
        for threads in (2, 1, 3, 2):
            torch.set_num_threads(threads)
            cur = cpu.conv(count, weight, stride=2, padding=1, groups=groups)
            results.append((cur, *torch.autograd.grad(cur.square().sum(), weight)))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(result, results[0]))


COUNT, WEIGHT = torch.ones(2, 1, 4, 6, 6, dtype=torch.uint8), torch.zeros(8, 4, 3, 3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weight": torch.zeros(8, 4, 9, 3)}, ValueError, "at most 7"),
        ({"weight": torch.zeros(8, 4)}, ValueError, "1 or 2 sides"),
        ({"weight": torch.full((8, 4, 3, 3), float("nan"))}, ValueError, "`weight` contains NaN"),
        ({"weight": WEIGHT.double()}, TypeError, "float64"),
        ({"spikes": COUNT[0]}, ValueError, r"\[T, B, 4, H, W\]"),
        ({"spikes": COUNT[:0]}, ValueError, "not empty"),
        ({"groups": 3}, ValueError, r"\[T, B, 12, H, W\]"),
        ({"groups": 0}, ValueError, "`groups` must be a whole number >= 1"),
        ({"stride": 0}, ValueError, "`stride` must be a whole number >= 1"),
        ({"padding": (1, 1, 1)}, ValueError, "`padding` must be a number, or one for each of 2 sides"),
        ({"padding": "same"}, TypeError, "`padding` must be a whole number"),
        ({"dilation": 4}, ValueError, "smaller than the window"),
        ({"bias": torch.zeros(3)}, ValueError, "bias"),
    ],
)
def test_convolution_says_what_is_wrong(change, error, message):
    with pytest.raises(error, match=message):
        cpu.conv(**{"spikes": COUNT, "weight": WEIGHT, **change})
