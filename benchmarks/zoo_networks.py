"""Spiking networks as tutorials and papers describe them, written as their authors would write them with snnTorch.

Each is a network as it stands, in one of the two forms in which people write them: one time step, with neurons that
keep their own state, or a class whose `forward` holds the loop over time. `tests/test_zoo.py` runs them small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import snntorch as snn
import torch
from snntorch import surrogate, utils
from torch import Tensor, nn
from torch.nn import functional as F

from snn_helpers.neurons import reset

SLOPE = surrogate.fast_sigmoid(slope=25)
ATAN = surrogate.atan()


@dataclass(frozen=True)
class Sizes:
    """How large a network and its input are.

    Attributes
    ----------
    steps, batch : int
        Time steps T and recordings B.
    shape : tuple of int
        Of the input of one step, without the batch.
    width : int
        Channels of the first layer, or hidden neurons.
    """

    steps: int
    batch: int
    shape: tuple[int, ...]
    width: int


@dataclass(frozen=True)
class Network:
    """A network of the zoo.

    Attributes
    ----------
    source : str
        Where it is described.
    build : callable
        Builds it for `Sizes`.
    full, small : Sizes
        As published, or as near to it as a laptop's minute allows; and for tests.
    events : float or None
        Share of input bins with an event; None for values in [0, 1], as of images and currents.
    static : bool
        Whether the input is one image, the same in every step.
    """

    source: str
    build: Callable[[Sizes], nn.Module]
    full: Sizes
    small: Sizes
    events: float | None = 0.05
    static: bool = False

    def make(self, sizes: Sizes, seed: int = 0) -> tuple[nn.Module, Tensor]:
        """Return the network and an input: [T, B, ...], or [B, ...] where a network repeats an image itself."""
        torch.manual_seed(seed)
        net = self.build(sizes)
        snn.SpikingNeuron.instances.clear()  # it would keep the network alive
        inputs = torch.rand(sizes.batch, *sizes.shape) if self.static else self._over_time(sizes)
        if self.static and not loops_itself(net):
            inputs = inputs.expand(sizes.steps, *inputs.shape)
        let_all_layers_fire(net, inputs)
        return net, inputs

    def _over_time(self, sizes: Sizes) -> Tensor:
        values = torch.rand(sizes.steps, sizes.batch, *sizes.shape)
        return values if self.events is None else (values < self.events).float()


def loops_itself(net: nn.Module) -> bool:
    """Whether the network's own `forward` holds the loop over time."""
    return getattr(net, "num_steps", None) is not None


def plain_loop(net: nn.Module, inputs: Tensor):
    """Run a network as its authors do: its own loop, or one call a step from states of zero."""
    reset(net)  # snnTorch's own reset, where a network calls it, knows only neurons that are listed process-wide
    if loops_itself(net):
        return net(inputs)
    outputs = [net(frame) for frame in inputs]
    if isinstance(outputs[0], Tensor):
        return torch.stack(outputs)
    return tuple(torch.stack(part) for part in zip(*outputs))


def lif(beta: float = 0.9, spike_grad=SLOPE, **options) -> snn.Leaky:
    """Return neurons that keep their own state."""
    return snn.Leaky(beta=beta, spike_grad=spike_grad, init_hidden=True, **options)


@torch.no_grad()
def let_all_layers_fire(net: nn.Module, inputs: Tensor) -> None:
    """Scale each layer's weights, in the order of computing, to currents of standard deviation 1, the threshold.

    As drawn, weights let a deep spiking network fall silent. D. Mishkin and J. Matas, ICLR (2016).
    """
    hooks = {}

    def scale(module, args, cur):
        if args[0].any() and cur.std() > 0:
            hooks.pop(module).remove()
            factor = 1 / cur.std()
            for parameter in module.parameters():
                parameter *= factor
            return cur * factor
        return cur

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            hooks[module] = module.register_forward_hook(scale)
    training = net.training
    plain_loop(net.eval(), inputs)
    net.train(training)
    for hook in hooks.values():
        hook.remove()


class Tutorial5(nn.Module):
    """Fully connected, an image shown in every step."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.num_steps = sizes.steps
        beta = 0.95
        self.fc1 = nn.Linear(784, sizes.width)
        self.lif1 = snn.Leaky(beta=beta)
        self.fc2 = nn.Linear(sizes.width, 10)
        self.lif2 = snn.Leaky(beta=beta)

    def forward(self, x):
        """Take images [B, 784]; return spikes and membranes [T, B, 10]."""
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk2_rec = []
        mem2_rec = []
        for _step in range(self.num_steps):
            cur1 = self.fc1(x)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class Tutorial6(nn.Module):
    """Convolutional, an image shown in every step."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.num_steps, self.batch_size = sizes.steps, sizes.batch
        beta = 0.5
        self.conv1 = nn.Conv2d(1, 12, 5)
        self.lif1 = snn.Leaky(beta=beta, spike_grad=SLOPE)
        self.conv2 = nn.Conv2d(12, sizes.width, 5)
        self.lif2 = snn.Leaky(beta=beta, spike_grad=SLOPE)
        self.fc1 = nn.Linear(sizes.width * 4 * 4, 10)
        self.lif3 = snn.Leaky(beta=beta, spike_grad=SLOPE)

    def forward(self, x):
        """Take images [B, 1, 28, 28]; return spikes and membranes [T, B, 10]."""
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        mem3 = self.lif3.init_leaky()
        spk3_rec = []
        mem3_rec = []
        for _step in range(self.num_steps):
            cur1 = F.max_pool2d(self.conv1(x), 2)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = F.max_pool2d(self.conv2(spk1), 2)
            spk2, mem2 = self.lif2(cur2, mem2)
            cur3 = self.fc1(spk2.view(self.batch_size, -1))
            spk3, mem3 = self.lif3(cur3, mem3)
            spk3_rec.append(spk3)
            mem3_rec.append(mem3)
        return torch.stack(spk3_rec), torch.stack(mem3_rec)


def tutorial6_sequential(sizes: Sizes) -> nn.Module:
    """Return the same network as one step."""
    beta = 0.5
    return nn.Sequential(
        nn.Conv2d(1, 12, 5),
        nn.MaxPool2d(2),
        snn.Leaky(beta=beta, spike_grad=SLOPE, init_hidden=True),
        nn.Conv2d(12, sizes.width, 5),
        nn.MaxPool2d(2),
        snn.Leaky(beta=beta, spike_grad=SLOPE, init_hidden=True),
        nn.Flatten(),
        nn.Linear(sizes.width * 4 * 4, 10),
        snn.Leaky(beta=beta, spike_grad=SLOPE, init_hidden=True, output=True),
    )


def tutorial7(sizes: Sizes) -> nn.Module:
    """Return the network for N-MNIST, one step."""
    beta = 0.5
    return nn.Sequential(
        nn.Conv2d(2, 12, 5),
        nn.MaxPool2d(2),
        snn.Leaky(beta=beta, spike_grad=ATAN, init_hidden=True),
        nn.Conv2d(12, sizes.width, 5),
        nn.MaxPool2d(2),
        snn.Leaky(beta=beta, spike_grad=ATAN, init_hidden=True),
        nn.Flatten(),
        nn.Linear(sizes.width * 5 * 5, 10),
        snn.Leaky(beta=beta, spike_grad=ATAN, init_hidden=True, output=True),
    )


def three_convolutions(sizes: Sizes) -> nn.Module:
    """Return 32-64-128 convolutions 3 x 3 with max-pools, and two fully connected layers."""
    w, side = sizes.width, sizes.shape[-1] // 8
    return nn.Sequential(
        *(nn.Conv2d(2, w, 3, padding=1), nn.MaxPool2d(2), lif()),
        *(nn.Conv2d(w, 2 * w, 3, padding=1), nn.MaxPool2d(2), lif()),
        *(nn.Conv2d(2 * w, 4 * w, 3, padding=1), nn.MaxPool2d(2), lif()),
        *(nn.Flatten(), nn.Linear(4 * w * side**2, 8 * w), lif(), nn.Linear(8 * w, 10), lif(output=True)),
    )


def vgg9(sizes: Sizes) -> nn.Module:
    """Return VGG-9: seven convolutions in three blocks, average pools, two fully connected layers."""
    layers, before, side = [], sizes.shape[0], sizes.shape[-1]
    for after, count in ((sizes.width, 2), (2 * sizes.width, 2), (4 * sizes.width, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), lif()]
            before = after
        layers.append(nn.AvgPool2d(2))
        side //= 2
    hidden = 16 * sizes.width
    layers += [nn.Flatten(), nn.Linear(before * side**2, hidden, bias=False), lif()]
    return nn.Sequential(*layers, nn.Linear(hidden, 10, bias=False), lif(output=True))


class SewBlock(nn.Module):
    """Two spiking convolutions; the spikes that came in are added to those that go out."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.norm1, self.lif1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), lif()
        self.conv2, self.norm2, self.lif2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), lif()

    def forward(self, x):
        """Compute one step."""
        out = self.lif1(self.norm1(self.conv1(x)))
        out = self.lif2(self.norm2(self.conv2(out)))
        out = out + x
        return out


class BasicBlock(nn.Module):
    """A residual block whose currents are added before the last neurons fire."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.lif1, self.lif2 = lif(beta=0.5), lif(beta=0.5)
        self.conv2, self.norm2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        """Compute one step."""
        out = self.lif1(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        out += self.shortcut(x)
        return self.lif2(out)


def sew_resnet(sizes: Sizes) -> nn.Module:
    """Return a small ResNet of spike-element-wise blocks."""
    w, side = sizes.width, sizes.shape[-1] // 4
    return nn.Sequential(
        *(nn.Conv2d(2, w, 3, padding=1), nn.BatchNorm2d(w), lif(), nn.MaxPool2d(2), SewBlock(w), nn.MaxPool2d(2)),
        *(SewBlock(w), nn.Flatten(), nn.Linear(w * side**2, 10), lif(output=True)),
    )


def spiking_resnet(sizes: Sizes) -> nn.Module:
    """Return a small ResNet whose blocks add, then fire."""
    w = sizes.width
    return nn.Sequential(
        *(nn.Conv2d(2, w, 3, padding=1, bias=False), nn.BatchNorm2d(w), lif(beta=0.5)),
        *(BasicBlock(w, w, 1), BasicBlock(w, 2 * w, 2), BasicBlock(2 * w, 4 * w, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * w, 10), lif(beta=0.5, output=True)),
    )


def dvs_gesture(sizes: Sizes) -> nn.Module:
    """Return five convolutions with max-pools, and two fully connected layers with dropout."""
    layers, before, w, side = [], 2, sizes.width, sizes.shape[-1]
    for _ in range(5):
        layers += [nn.Conv2d(before, w, 3, padding=1, bias=False), nn.BatchNorm2d(w), lif(0.5, ATAN), nn.MaxPool2d(2)]
        before, side = w, side // 2
    layers += [nn.Flatten(), nn.Dropout(0.5), nn.Linear(w * side**2, 4 * w), lif(0.5, ATAN), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(4 * w, 11), lif(0.5, ATAN, output=True))


class Recurrent(nn.Module):
    """Recurrent neurons on one-dimensional events, such as those of spoken digits."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.num_steps = sizes.steps
        self.fc1 = nn.Linear(*sizes.shape, sizes.width)
        self.hidden = snn.RSynaptic(alpha=0.8, beta=0.9, linear_features=sizes.width, spike_grad=SLOPE)
        self.fc2 = nn.Linear(sizes.width, 20)
        self.out = snn.Synaptic(alpha=0.8, beta=0.9, spike_grad=SLOPE)

    def forward(self, x):
        """Take events [T, B, 700]; return spikes and membranes [T, B, 20]."""
        spk1, syn1, mem1 = self.hidden.init_rsynaptic()
        syn2, mem2 = self.out.init_synaptic()
        spk_rec, mem_rec = [], []
        for step in range(x.size(0)):
            spk1, syn1, mem1 = self.hidden(self.fc1(x[step]), spk1, syn1, mem1)
            spk2, syn2, mem2 = self.out(self.fc2(spk1), syn2, mem2)
            spk_rec.append(spk2)
            mem_rec.append(mem2)
        return torch.stack(spk_rec), torch.stack(mem_rec)


def recurrent_step(sizes: Sizes) -> nn.Module:
    """Return recurrent leaky neurons as one step."""
    neurons = snn.RLeaky(beta=0.9, linear_features=sizes.width, spike_grad=SLOPE, init_hidden=True)
    layers = nn.Linear(*sizes.shape, sizes.width), neurons, nn.Linear(sizes.width, 20), lif(output=True)
    return nn.Sequential(*layers)


class Autoencoder(nn.Module):
    """A spiking autoencoder that encodes all steps, then decodes all steps; the image is the last membrane."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.num_steps, w, side = sizes.steps, sizes.width, sizes.shape[-1] // 4
        latent = 32
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, w, 3, padding=1, stride=2), nn.BatchNorm2d(w), lif()),
            *(nn.Conv2d(w, 2 * w, 3, padding=1, stride=2), nn.BatchNorm2d(2 * w), lif()),
            *(nn.Flatten(1, -1), nn.Linear(2 * w * side**2, latent), lif(output=True)),
        )
        up = {"kernel_size": 3, "padding": 1, "stride": 2, "output_padding": 1}
        self.decoder = nn.Sequential(
            *(nn.Linear(latent, 2 * w * side**2), lif(), nn.Unflatten(1, (2 * w, side, side))),
            *(nn.ConvTranspose2d(2 * w, w, **up), nn.BatchNorm2d(w), lif()),
            *(nn.ConvTranspose2d(w, 1, **up), lif(output=True, threshold=20000)),
        )

    def forward(self, x):
        """Take images [B, 1, H, W]; return them as the decoder sees them."""
        utils.reset(self.encoder)
        utils.reset(self.decoder)
        spk_rec, mem_rec = [], []
        for _step in range(self.num_steps):
            spk, _ = self.encoder(x)
            spk_rec.append(spk)
        spk_rec = torch.stack(spk_rec, dim=2)
        for step in range(self.num_steps):
            _, mem = self.decoder(spk_rec[..., step])
            mem_rec.append(mem)
        return torch.stack(mem_rec, dim=4)[:, :, :, :, -1]


def autoencoder_step(sizes: Sizes) -> nn.Module:
    """Return an autoencoder as one step, with transposed convolutions."""
    w = sizes.width
    up = {"kernel_size": 4, "stride": 2, "padding": 1}
    return nn.Sequential(
        *(nn.Conv2d(2, w, 4, 2, 1), lif(), nn.Conv2d(w, 2 * w, 4, 2, 1), lif()),
        *(nn.ConvTranspose2d(2 * w, w, **up), lif(), nn.ConvTranspose2d(w, 2, **up), lif(output=True)),
    )


class Regression(nn.Module):
    """Learned decays and thresholds, one a neuron, drawn at random; the answer is a membrane that is never reset."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.num_steps, hidden = sizes.steps, sizes.width
        options = {"learn_beta": True, "spike_grad": surrogate.fast_sigmoid()}
        self.fc_in = nn.Linear(1, hidden)
        self.lif_in = snn.Leaky(beta=torch.rand(hidden), threshold=torch.rand(hidden), **options)
        self.fc_hidden = nn.Linear(hidden, hidden)
        self.lif_hidden = snn.Leaky(beta=torch.rand(hidden), threshold=torch.rand(hidden), **options)
        self.fc_out = nn.Linear(hidden, 1)
        self.li_out = snn.Leaky(beta=torch.rand(1), threshold=1.0, reset_mechanism="none", **options)

    def forward(self, x):
        """Take values [T, B, 1]; return membranes [T, B, 1]."""
        mem_1 = self.lif_in.init_leaky()
        mem_2 = self.lif_hidden.init_leaky()
        mem_3 = self.li_out.init_leaky()
        mem_3_rec = []
        for step in range(self.num_steps):
            x_timestep = x[step, :, :]
            spk_in, mem_1 = self.lif_in(self.fc_in(x_timestep), mem_1)
            spk_hidden, mem_2 = self.lif_hidden(self.fc_hidden(spk_in), mem_2)
            _spk_out, mem_3 = self.li_out(self.fc_out(spk_hidden), mem_3)
            mem_3_rec.append(mem_3)
        return torch.stack(mem_3_rec)


def learned_beta(sizes: Sizes) -> nn.Module:
    """Return convolutions whose neurons learn decay and threshold, one number a layer."""
    w, side = sizes.width, sizes.shape[-1] // 4

    def plif(**options):
        return lif(beta=0.5, spike_grad=ATAN, learn_beta=True, learn_threshold=True, **options)

    return nn.Sequential(
        *(nn.Conv2d(2, w, 3, padding=1), nn.BatchNorm2d(w), plif(), nn.MaxPool2d(2)),
        *(nn.Conv2d(w, w, 3, padding=1), nn.BatchNorm2d(w), plif(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(w * side**2, 10), plif(output=True)),
    )


class Conductance(nn.Module):
    """Synaptic neurons: a current that decays, too."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.num_steps = sizes.steps
        self.fc1, self.fc2 = nn.Linear(784, sizes.width), nn.Linear(sizes.width, 10)
        self.lif1 = snn.Synaptic(alpha=0.9, beta=0.8)
        self.lif2 = snn.Synaptic(alpha=0.9, beta=0.8)

    def forward(self, x):
        """Take spike trains [T, B, 784]; return spikes and membranes [T, B, 10]."""
        syn1, mem1 = self.lif1.init_synaptic()
        syn2, mem2 = self.lif2.init_synaptic()
        spk2_rec, mem2_rec = [], []
        for step in range(self.num_steps):
            spk1, syn1, mem1 = self.lif1(self.fc1(x[step]), syn1, mem1)
            spk2, syn2, mem2 = self.lif2(self.fc2(spk1), syn2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec), torch.stack(mem2_rec)


class UNet(nn.Module):
    """A U-shaped network: spikes of the way down are laid beside those of the way up."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        w = sizes.width
        self.down1, self.lif1 = nn.Conv2d(2, w, 3, padding=1), lif()
        self.down2, self.lif2 = nn.Conv2d(w, 2 * w, 3, padding=1), lif()
        self.bottom, self.lif3 = nn.Conv2d(2 * w, 4 * w, 3, padding=1), lif()
        self.up2, self.lif4 = nn.ConvTranspose2d(4 * w, 2 * w, 2, stride=2), lif()
        self.merge2, self.lif5 = nn.Conv2d(4 * w, 2 * w, 3, padding=1), lif()
        self.up1, self.lif6 = nn.ConvTranspose2d(2 * w, w, 2, stride=2), lif()
        self.head, self.lif7 = nn.Conv2d(2 * w, 1, 1), lif(output=True)

    def forward(self, x):
        """Compute one step."""
        first = self.lif1(self.down1(x))
        second = self.lif2(self.down2(F.max_pool2d(first, 2)))
        bottom = self.lif3(self.bottom(F.max_pool2d(second, 2)))
        up = self.lif4(self.up2(bottom))
        up = self.lif5(self.merge2(torch.cat([up, second], dim=1)))
        up = self.lif6(self.up1(up))
        return self.lif7(self.head(torch.cat([up, first], dim=1)))


ZOO = {
    "tutorial5": Network(
        "snnTorch tutorial 5: FC 784-1000-10, beta 0.95, a class with the loop in its forward, one image",
        Tutorial5, Sizes(25, 128, (784,), 1000), Sizes(5, 3, (784,), 20), None, static=True,
    ),
    "tutorial6": Network(
        "snnTorch tutorial 6: 12C5-MP2-64C5-MP2-1024FC10, beta 0.5, a class with the loop in its forward, one image",
        Tutorial6, Sizes(50, 16, (1, 28, 28), 64), Sizes(4, 2, (1, 28, 28), 8), None, static=True,
    ),
    "tutorial6s": Network(
        "snnTorch tutorial 6, its nn.Sequential: 12C5-MP2-64C5-MP2-1024FC10, one image",
        tutorial6_sequential, Sizes(50, 16, (1, 28, 28), 64), Sizes(4, 2, (1, 28, 28), 8), None, static=True,
    ),
    "tutorial7": Network(
        "snnTorch tutorial 7: nn.Sequential 12C5-MP2-32C5-MP2-800FC10 on N-MNIST, beta 0.5, arctangent",
        tutorial7, Sizes(25, 32, (2, 34, 34), 32), Sizes(5, 2, (2, 34, 34), 6),
    ),
    "convs": Network(
        "this package's SpikingCNN without normalisation, written with snnTorch: 32C3-64C3-128C3, max-pools, FC256-10",
        three_convolutions, Sizes(25, 16, (2, 34, 34), 32), Sizes(5, 2, (2, 16, 16), 4),
    ),
    "vgg9": Network(
        "VGG-9 with average pools: C. Lee et al., Frontiers in Neuroscience 14:119 (2020)",
        vgg9, Sizes(10, 4, (3, 32, 32), 64), Sizes(4, 2, (3, 8, 8), 4), 0.2,
    ),
    "sew": Network(
        "spike-element-wise residual blocks: W. Fang et al., NeurIPS 34 (2021)",
        sew_resnet, Sizes(16, 8, (2, 32, 32), 32), Sizes(4, 2, (2, 8, 8), 4),
    ),
    "resnet": Network(
        "residual blocks that add, then fire: H. Zheng et al., AAAI 35 (2021)",
        spiking_resnet, Sizes(10, 8, (2, 32, 32), 32), Sizes(4, 2, (2, 8, 8), 4),
    ),
    "gesture64": Network(
        "five convolutions for DVS Gesture, 11 classes: W. Fang et al., ICCV (2021); at 64 x 64",
        dvs_gesture, Sizes(20, 4, (2, 64, 64), 64), Sizes(4, 2, (2, 32, 32), 4), 0.03,
    ),
    "gesture128": Network(
        "five convolutions of 128 channels for DVS Gesture, 11 classes: W. Fang et al., ICCV (2021); at 128 x 128",
        dvs_gesture, Sizes(10, 2, (2, 128, 128), 128), Sizes(3, 2, (2, 64, 64), 4), 0.02,
    ),
    "recurrent": Network(
        "700-256R-20 with a synaptic current, a class with its loop: B. Cramer et al., IEEE TNNLS 33 (2022)",
        Recurrent, Sizes(100, 64, (700,), 256), Sizes(6, 3, (30,), 12), 0.02,
    ),
    "recurrents": Network(
        "700-256R-20, leaky, one step: B. Cramer et al., IEEE TNNLS 33 (2022)",
        recurrent_step, Sizes(100, 64, (700,), 256), Sizes(6, 3, (30,), 12), 0.02,
    ),
    "autoencoder": Network(
        "snnTorch's tutorial on spiking autoencoders: one loop for the encoder, one for the decoder",
        Autoencoder, Sizes(5, 64, (1, 32, 32), 32), Sizes(3, 2, (1, 8, 8), 4), None, static=True,
    ),
    "autoencoders": Network(
        "an autoencoder of events with transposed convolutions, one step: as snnTorch's, without normalisation",
        autoencoder_step, Sizes(20, 8, (2, 32, 32), 32), Sizes(4, 2, (2, 8, 8), 4),
    ),
    "regression": Network(
        "snnTorch's tutorial on regression: 1-128-128-1, decays and thresholds a neuron, read-out by the membrane",
        Regression, Sizes(50, 32, (1,), 128), Sizes(6, 2, (1,), 10), None,
    ),
    "learned": Network(
        "parametric neurons that learn decay and threshold: W. Fang et al., ICCV (2021), with snnTorch's neurons",
        learned_beta, Sizes(16, 8, (2, 32, 32), 32), Sizes(4, 2, (2, 8, 8), 4),
    ),
    "synaptic": Network(
        "snnTorch tutorial 4's second-order neurons, FC 784-1000-10 on spike trains",
        Conductance, Sizes(25, 64, (784,), 1000), Sizes(5, 2, (784,), 20), 0.2,
    ),
    "unet": Network(
        "U-shaped: O. Ronneberger et al., MICCAI (2015), with spiking neurons as in C. Lee et al., ECCV (2020)",
        UNet, Sizes(10, 4, (2, 64, 64), 16), Sizes(4, 2, (2, 8, 8), 3),
    ),
}  # fmt: skip
