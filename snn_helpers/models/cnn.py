"""SpikingCNN: three spiking convolutions and two fully connected spiking layers."""

from __future__ import annotations

from snn_helpers.models.convolutional import ConvolutionalNetwork


class SpikingCNN(ConvolutionalNetwork):
    """Convolutional spiking network for event frames.

    Three times conv 3x3 -> norm -> 2x2 max-pool -> Leaky (32, 64, 128 channels), then fully connected 256 -> norm ->
    Leaky -> dropout, fully connected `num_classes` -> Leaky.

    Parameters
    ----------
    beta : float in [0, 1]
        Decay of the membranes per step, exp(-dt / tau).
    threshold : float > 0
        Firing threshold of all neurons.
    dropout : float in [0, 1)
        Share of the hidden layer's spikes dropped in training, each step on its own.
    engine : {"auto", "snntorch", "cpu", "cuda"}
        What computes the layers. "snntorch" loops over snnTorch's neurons; "cpu" is event-driven; "auto" takes the
        fastest for the device of the weights, and `model.engine` says what that is.
    norm : {"batch", "none"}
        "batch": batch normalisation over time and batch, which therefore sees whole recordings: layer by layer.
    num_classes : int
        Output neurons.
    in_channels : int
        Polarities of the frames.
    image_size : int or (W, H)
        Pixels of the frames; one number for a square.
    surrogate : {"fast_sigmoid", "compact"}
        Gradient of a spike; "compact" is zero far from the threshold, which makes the backward pass faster and the
        gradients different.
    learn : tuple of str
        What each layer of neurons learns beside the weights, one number a layer: of "beta" and "threshold".

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.
    """

    pretrained_name = "cnn"
    channels = (32, 64, 128)
    num_hidden = 256
    gains = (0.9, 0.8, 0.7, 1.9, 1.6)
