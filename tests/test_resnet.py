"""SpikingResNet and its blocks: what a skip means, invariants, and what is refused."""

import gc
import weakref

import pytest
import snntorch
import torch
from torch import nn
from watching import layer_spikes, watched

from snn_helpers.activity import firing_fractions
from snn_helpers.models.cnn import SpikingCNN
from snn_helpers.models.firing import balance_firing
from snn_helpers.models.resnet import MembraneBlock, ResidualBlock, SpikingResNet
from snn_helpers.models.settings import SKIPS
from snn_helpers.neurons import Leaky, Listener, reset
from snn_helpers.over_time import accelerate

LAYERS = ["stem", "block1.inner", "block1.outer", "down", "block2.inner", "block2.outer", "hidden", "output"]


def some_frames(num_steps=6, batch=3, channels=2, size=34):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 3, (num_steps, batch, channels, size, size), generator=generator, dtype=torch.uint8)


def build(seed=0, **options):
    torch.manual_seed(seed)
    return SpikingResNet(**options)


def silence(block):
    """Let a block's branch be silent."""
    with torch.no_grad():
        for parameter in block.outer.parameters():
            parameter.zero_()


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_block_with_a_silent_branch_is_the_identity_for_the_sew_skip_only(norm):
    spk = (torch.rand(5, 2, 8, 9, 9, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    blocks = {skip: ResidualBlock(8, skip=skip, norm=norm) for skip in ("sew", "add_then_fire", "none")}
    for block in blocks.values():
        silence(block)
    assert torch.equal(accelerate(blocks["sew"])(spk), spk)
    assert not torch.equal(accelerate(blocks["add_then_fire"])(spk), spk)
    assert not accelerate(blocks["none"])(spk).any()


def test_add_then_fire_weighs_a_spike_by_the_threshold_and_follows_the_golden_trace():
    # One pixel, beta 0.5, threshold 1, silent branch: the input's spikes 1 1 1 0 are currents of 1.
    # u: 1; 0.5 + 1; 0.75 + 1 - 1; 0.375 + 0. The first stands exactly at the threshold and must not fire.
    block = ResidualBlock(1, beta=0.5, threshold=1.0, skip="add_then_fire", norm="none")
    silence(block)
    layers, out = watched(accelerate(block), torch.tensor([1.0, 1.0, 1.0, 0.0]).view(4, 1, 1, 1, 1))
    assert layers["outer"][1].flatten().tolist() == [1.0, 1.5, 0.75, 0.375]
    assert out.flatten().tolist() == [0.0, 1.0, 0.0, 0.0]


class MembraneStack(nn.Module):
    """Neurons, then blocks that hand on spikes and currents; it answers with both."""

    def __init__(self, depth, channels=1, threshold=1.0, norm="none"):
        super().__init__()
        self.first = Leaky(0.5, threshold, init_hidden=True)
        self.blocks = nn.ModuleList([MembraneBlock(channels, 0.5, threshold, norm) for _ in range(depth)])

    def forward(self, cur):
        spk = self.first(cur)
        for block in self.blocks:
            spk, cur = block(spk, cur)
        return spk, cur


def test_membrane_shortcut_carries_currents_past_silent_branches_unchanged():
    net = MembraneStack(3, channels=4)
    for block in net.blocks:
        silence(block)
    cur = torch.randn(5, 2, 4, 6, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    spk, out = accelerate(net)(cur)
    assert torch.equal(out, cur)
    assert torch.equal(spk, accelerate(nn.Sequential(net.first, nn.Flatten(2)))(cur).unflatten(3, (6, 6)))
    out.sum().backward()
    assert torch.equal(cur.grad, torch.ones_like(cur))


def test_membrane_shortcut_follows_the_golden_trace():
    # One pixel, beta 0.5, threshold 1; inner fires with its input (weight 2), outer adds 0.5 a spike of it.
    # Input 1.5 0.5 0: first u 1.5 (fires), 0.75 + 0.5 - 1, 0.125. inner the same steps: u 2 (fires), 1 - 1, 0.
    # Currents behind: 1.5 + 0.5, 0.5, 0; outer u: 2 (fires), 1 + 0.5 - 1, 0.25.
    net = MembraneStack(1)
    with torch.no_grad():
        for layer, weight in ((net.blocks[0].inner, 2.0), (net.blocks[0].outer, 0.5)):
            layer.weights.weight.zero_()
            layer.weights.weight[0, 0, 1, 1] = weight
    layers, (spk, cur) = watched(accelerate(net), torch.tensor([1.5, 0.5, 0.0]).view(3, 1, 1, 1, 1))
    assert layers["blocks.0.outer"][1].flatten().tolist() == [2.0, 0.5, 0.25]
    assert spk.flatten().tolist() == [1.0, 0.0, 0.0]
    assert cur.flatten().tolist() == [2.0, 0.5, 0.0]


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_membrane_shortcut_over_time_equals_the_loop(norm):
    torch.manual_seed(0)
    net = MembraneStack(3, channels=4, norm=norm).eval()
    cur = 2 * torch.randn(6, 2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    spk, out = accelerate(net)(cur)
    assert spk.any()
    reset(net)
    for step, cur_now in enumerate(cur):
        spk_now, out_now = net(cur_now)
        assert torch.equal(spk[step], spk_now)
        assert torch.allclose(out[step], out_now, atol=1e-5)


def test_balance_reaches_every_layer_around_membrane_shortcuts():
    model, frames = build(skip="membrane", dropout=0.0).eval(), some_frames()
    balance_firing(model, frames, 0.1)
    with firing_fractions(model) as fractions:
        model(frames)
    assert all(0.08 < share.item() < 0.12 for share in fractions.values()), fractions


def test_sums_of_spikes_grow_by_one_a_block_at_most():
    spk = torch.ones(4, 1, 8, 5, 5)
    for count in range(1, 4):
        block = ResidualBlock(8, norm="none")
        nn.init.constant_(block.inner.weights.weight, 1.0), nn.init.constant_(block.outer.weights.weight, 1.0)
        spk = accelerate(block)(spk)
        assert spk.max() == count + 1
        assert torch.equal(spk, spk.round())


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_layers_have_the_shapes_said_and_all_get_gradients(skip, norm):
    model, frames = build(skip=skip, norm=norm), some_frames()
    balance_firing(model, frames, 0.1)
    shapes = {name: tuple(spk.shape[2:]) for name, spk in layer_spikes(model, frames).items()}
    assert list(shapes) == LAYERS
    assert shapes["stem"] == shapes["block1.inner"] == shapes["block1.outer"] == (32, 17, 17)
    assert shapes["down"] == shapes["block2.inner"] == shapes["block2.outer"] == (64, 8, 8)
    assert (shapes["hidden"], shapes["output"]) == ((128,), (10,))
    out = model(frames)
    (out.spk_rec.sum() + out.mem_rec.sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_resnet_has_the_cnns_parameters_within_five_percent():
    numbers = [sum(p.numel() for p in model.parameters()) for model in (SpikingResNet(), SpikingCNN())]
    assert abs(numbers[0] - numbers[1]) < 0.05 * numbers[1]


@pytest.mark.parametrize("engine", ["cpu", "snntorch"])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_batch_of_one_and_one_step_run_and_leave_no_trace(engine, norm):
    model = build(norm=norm, engine=engine).eval()
    frames = some_frames()
    whole = model(frames)
    assert torch.equal(model(frames).mem_rec, whole.mem_rec)
    assert model(frames[:1, :1]).spk_rec.shape == (1, 1, 10)
    assert torch.equal(model(frames).mem_rec, whole.mem_rec)


def test_permuting_the_batch_permutes_the_output_and_later_frames_change_nothing_before():
    model, frames = build().eval(), some_frames()
    balance_firing(model, frames, 0.1)
    out = model(frames)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(model(frames[:, order]).mem_rec, out.mem_rec[:, order], atol=1e-5)
    later = frames.clone()
    later[4:] = 0
    changed = model(later).mem_rec
    assert torch.allclose(changed[:4], out.mem_rec[:4], atol=1e-5)
    assert not torch.allclose(changed[4:], out.mem_rec[4:], atol=1e-2)


def test_two_models_do_not_touch_each_other():
    first, frames = build(engine="snntorch", norm="none").eval(), some_frames(6, 2)
    alone = first(frames).mem_rec
    second = build(1, engine="snntorch", norm="none").eval()
    between = []

    def run_the_other(*_):
        between.append(second(frames).mem_rec)

    first.stem.neurons.register_forward_hook(Listener(run_the_other))
    assert torch.equal(first(frames).mem_rec, alone)
    assert not torch.equal(between[0], alone)


def test_a_thousand_models_leave_no_neuron_alive():
    listed = len(snntorch.SpikingNeuron.instances)
    small = {"image_size": 8, "channels": (2, 2), "hidden": 2}
    frames, last = some_frames(1, 1, size=8), None
    for number in range(1000):
        model = SpikingResNet(**small, norm="none", engine="snntorch")
        if number % 100 == 0:
            model(frames)
            last = weakref.ref(model.spiking_layers()["stem"].neurons)
    assert len(snntorch.SpikingNeuron.instances) == listed
    del model
    gc.collect()
    assert last() is None


def test_adaptation_is_in_units_of_the_threshold():
    assert build(threshold=0.25, adaptation=2.0).stem.neurons.adaptation == 0.5


def test_learned_numbers_stand_in_the_layers_that_have_them():
    model = build(learn=("beta", "alpha", "rho"))
    learned = {name for name, parameter in model.named_parameters() if parameter.dim() == 0}
    assert {"stem.neurons.beta", "stem.neurons.rho", "hidden.neurons.alpha", "block1.inner.neurons.beta"} <= learned
    assert "stem.neurons.threshold" not in learned
    assert "output.neurons.alpha" not in learned


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"skip": "seww"},
            "`skip` must be one of 'sew', 'add_then_fire', 'membrane', 'none'; got 'seww'. Did you mean 'sew'",
        ),
        ({"engine": "gpu"}, "`engine` must be one of"),
        ({"beta": 1.1}, r"`beta` must be a number in \[0, 1\]; got 1.1"),
        ({"alpha": -0.1}, r"`alpha` must be a number in \[0, 1\]; got -0.1"),
        ({"rho": 2}, r"`rho` must be a number in \[0, 1\]; got 2"),
        ({"threshold": 0}, "`threshold` must be a number > 0; got 0"),
        ({"adaptation": -1}, "`adaptation` must be a number >= 0; got -1"),
        ({"learn": ("tau",)}, "`learn` must be one of"),
        ({"hidden": 0}, "`hidden` must be a whole number >= 1; got 0"),
    ],
)
def test_resnet_refuses_bad_values(arguments, message):
    with pytest.raises(ValueError, match=message):
        SpikingResNet(**arguments)


def test_frames_of_another_size_are_refused_with_what_the_model_was_built_for():
    message = r"\[2, 34, 34\], which this model was built for; got \[1, 28, 28\]. Build another with SpikingResNet\("
    with pytest.raises(ValueError, match=message):
        SpikingResNet()(some_frames(channels=1, size=28))
    assert SpikingResNet(in_channels=1, image_size=28)(some_frames(channels=1, size=28)).spk_rec.shape == (6, 3, 10)
