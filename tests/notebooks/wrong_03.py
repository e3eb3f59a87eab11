"""Wrong answers to the exercises of notebook 03, with words of the message that each must get."""


def counted(kernel_power=2, per_input=True, bias_of="out", bias_used=True, norm=2, norm_of="out"):
    def conv_parameters(n_in, n_out, kernel, bias, normalised):
        weights = n_out * kernel**kernel_power * (n_in if per_input else 1)
        biases = bias * bias_used * (n_out if bias_of == "out" else n_in)
        return weights + biases + normalised * norm * (n_out if norm_of == "out" else n_in)

    return conv_parameters


def compared(axis=1, reorder="order", signed=False):
    def order_gap(answer, frames, order):
        mixed = frames[order] if axis == 0 else frames[:, order]
        again = {"order": order, "none": slice(None), "back": order.argsort()}[reorder]
        gaps = answer(mixed) - answer(frames)[:, again]
        return gaps.max() if signed else gaps.abs().max()

    return order_gap


def always(value):
    return lambda *_: value


def blanked(first=0, end=0, copy=True, largest=True, truth=False, reference=True):
    def early_gap(answer, frames, k):
        before = answer(frames)
        later = frames.clone() if copy else frames
        later[k + first :] = 0
        gaps = (answer(later) - before)[: k + end] if reference else answer(later)[:k] * 0
        gap = gaps.abs().max() if largest else gaps.max()
        return bool(gap > 0) if truth else gap

    return early_gap


WRONG = {
    "check_conv_parameters": [
        (counted(kernel_power=1), "has 9 weights, not 3"),
        (counted(per_input=False), "for every input channel"),
        (counted(bias_used=False), "the bias is missing"),
        (counted(bias_of="in"), "one bias for each output channel"),
        (counted(norm=4), "are measured, not learned"),
        (counted(norm=1), "32 scales and 32 shifts"),
        (counted(norm_of="in"), "stands behind the convolution"),
        (lambda n_in, n_out, kernel, bias, norm: n_in * n_out * 9 + bias * n_out + norm * 2 * n_out, "kernel of 1"),
    ],
    "check_order_gap": [
        (compared(axis=0), "axis 0 is time"),
        (compared(reorder="none"), "reorder the first answers"),
        (compared(reorder="back"), "same order twice"),
        (always(0.0), "finds nothing"),
        (compared(signed=True), "largest absolute gap"),
    ],
    "check_early_gap": [
        (blanked(copy=False), "blank a clone"),
        (blanked(end=5), "compare the steps before k only"),
        (blanked(end=1), "compare the steps before k only"),
        (blanked(first=1), "frame k itself"),
        (blanked(largest=False), "changes by 50"),
        (blanked(truth=True), "not whether there is one"),
        (blanked(reference=False), "misses a network that looks one frame ahead"),
    ],
}
