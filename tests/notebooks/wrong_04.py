"""Wrong answers to the exercises of notebook 04, with words of the message that each must get."""


def compared(axis=1, reorder="order", signed=False):
    def order_gap(answer, frames, order):
        mixed = frames[order] if axis == 0 else frames[:, order]
        again = {"order": order, "none": slice(None), "back": order.argsort()}[reorder]
        gaps = answer(mixed) - answer(frames)[:, again]
        return gaps.max() if signed else gaps.abs().max()

    return order_gap


def always(value):
    return lambda *_: value


def blanked(first=0, end=0, copy=True, largest=True, truth=False, reference=True, axis=0, early=False):
    def early_gap(answer, frames, k):
        before = answer(frames)
        later = frames.clone() if copy else frames
        later.movedim(axis, 0)[slice(k) if early else slice(k + first, None)] = 0
        gaps = (answer(later) - before)[: k + end] if reference else answer(later)[:k] * 0
        gap = gaps.abs().max() if largest else gaps.max()
        return bool(gap > 0) if truth else gap

    return early_gap


WRONG = {
    "order_gap": [
        (compared(axis=0), "axis 0 is time"),
        (compared(reorder="none"), "reorder the first answers"),
        (compared(reorder="back"), "same order twice"),
        (always(0.0), "finds nothing"),
        (compared(signed=True), "largest absolute gap"),
    ],
    "early_gap": [
        (blanked(copy=False), "blank a clone"),
        (blanked(early=True), "frames before step k"),
        (blanked(axis=1), "frames before step k"),
        (blanked(end=5), "compare the steps before k only"),
        (blanked(end=1), "compare the steps before k only"),
        (blanked(first=1), "frame k itself"),
        (blanked(largest=False), "changes by 50"),
        (blanked(truth=True), "not whether there is one"),
        (blanked(reference=False), "misses a network that looks one frame ahead"),
    ],
}
