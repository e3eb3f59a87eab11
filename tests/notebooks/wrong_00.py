"""Wrong answers to the exercises of notebook 00, with words of the message that each must get."""


def length_us(events):
    return events["t"][-1] - events["t"][0]


WRONG = {
    "mean_rate_hz": [
        (lambda events: len(events) / length_us(events), "per µs"),
        (lambda events: len(events) / length_us(events) * 1e3, "per ms"),
        (lambda events: len(events) / events["t"][-1] * 1e6, "need not come at 0"),
        (lambda events: len(events) / 0.5, "8,004 a second"),
    ],
    "decide": [
        (lambda spk_rec: spk_rec[-1].argmax(-1), "last step only"),
        (lambda spk_rec: spk_rec.sum(0).argmax(), "whole batch"),
        (lambda spk_rec: spk_rec.sum(0), "which of the ten"),
        (lambda spk_rec: spk_rec.argmax(-1), "sum over time"),
        (lambda spk_rec: spk_rec.sum(0).max(-1).values, "spike counts"),
        (lambda spk_rec: spk_rec.sum(0).argmin(-1), "4, 9 and 7"),
    ],
}
