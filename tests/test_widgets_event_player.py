"""The event player's drawing does bounded work, whatever the sensor and the number of events."""

import json

import numpy as np
import pytest
from javascript import in_node

BEGIN = """
import { colourField, drawSide, fieldPicture, fieldSize, strengths } from "./recording.js";
function made(count, width, height) {
  const [x, y, p, t] = [new Uint16Array(count), new Uint16Array(count), new Uint8Array(count), new Uint32Array(count)];
  for (let i = 0; i < count; i += 1) {
    x[i] = (7919 * i) % width; y[i] = (104729 * i) % height; p[i] = (i * i) % 2; t[i] = 3 * i;
  }
  return { x, y, p, t, width, height, dot_stride: 1 };
}
const sum = (field) => field.reduce((a, b) => a + b, 0);
"""


def test_picture_is_no_finer_than_the_canvas():
    shown = in_node(
        BEGIN
        + """
        const cases = [[34, 34], [346, 260], [1280, 720], [720, 1280]];
        console.log(JSON.stringify(cases.map(([width, height]) => {
          const recording = made(1000, width, height);
          const [wide, high] = fieldSize(recording, 238);
          const picture = fieldPicture(recording, { width: wide, height: high });
          return [wide, high, picture.pool, picture.columns, picture.rows];
        })));"""
    )
    assert shown == [
        [238, 238, 1, 34, 34],
        [238, 179, 2, 173, 130],
        [238, 134, 6, 214, 120],
        [134, 238, 6, 120, 214],
    ]


@pytest.mark.parametrize("mode", ["bin", "decay", "accumulate"])
def test_playing_adds_only_new_events_and_shows_what_a_jump_shows(mode):
    script = """
        const recording = made(100000, 128, 128); // 300 ms
        const most = { width: 238, height: 238 };
        const [played, jumped] = [fieldPicture(recording, most), fieldPicture(recording, most)];
        let [work, worst] = [0, 0];
        for (let ms = 100; ms < 200; ms += 1) {
          strengths(recording, played, ms, 20, MODE);
          if (ms > 100) work += played.work.events;
          const at = strengths(recording, jumped, ms, 20, MODE);
          jumped.last = null;
          const most = Math.max(...at);
          for (let i = 0; i < at.length; i += 1) worst = Math.max(worst, Math.abs(at[i] - played.field[i]) / most);
        }
        const back = strengths(recording, played, 50, 20, MODE);
        const fresh = strengths(recording, fieldPicture(recording, most), 50, 20, MODE);
        console.log(JSON.stringify({ work, worst, back: back.every((one, i) => one === fresh[i]) }));"""
    done = in_node(BEGIN + script.replace("MODE", json.dumps(mode)))
    passed = {"bin": 80_000 / 3, "decay": 99_000 / 3, "accumulate": 99_000 / 3}[mode]  # an event each 3 us
    assert done["work"] == pytest.approx(passed, abs=3)
    assert done["worst"] < 0.004  # of the strongest pixel: a jump leaves out what has faded below exp(-6)
    assert done["back"]


def test_pooled_picture_keeps_every_event_of_a_bin():
    total, expected = in_node(
        BEGIN
        + """
        const recording = made(100000, 1280, 720);
        const picture = fieldPicture(recording, { width: 238, height: 134 });
        const field = strengths(recording, picture, 45, 10, "bin");
        console.log(JSON.stringify([sum(field), recording.t.filter((t) => t >= 40000 && t < 50000).length]));"""
    )
    assert total == expected > 3000


def test_dots_over_time_are_bounded_by_their_stride():
    dots = in_node(
        BEGIN
        + """
        const context = new Proxy({}, { get: () => () => {}, set: () => true });
        const recording = { ...made(100000, 1280, 720), dot_stride: 50, end_ms: 300, saccades_ms: [],
          cumulative: new Uint32Array(602) };
        const colours = { on: [0, 0, 0], off: [0, 0, 0], shade: "", grey: "", ink: "", dark: false };
        console.log(JSON.stringify(drawSide({ context, width: 500, height: 300 }, recording, colours)));"""
    )
    assert dots == 2000


def test_rates_are_written_out():
    words = in_node('import { rateWords } from "./recording.js";\n'
                    "console.log(JSON.stringify([0.25, 16.6, 1666.7].map(rateWords)));")  # fmt: skip
    assert words == ["0.25", "17", "1667"]


def test_colours_are_those_of_python_and_stay_in_a_byte():
    bytes_ = in_node(
        BEGIN
        + """
        const colours = { paper: [255, 255, 255], on: [0, 114, 178], off: [213, 94, 0] };
        const field = Float32Array.from([0, 9, 9, 0, 0, 9]); // OFF, then ON, of three pixels
        console.log(JSON.stringify([...colourField(field, 3, colours, 1, new Uint8ClampedArray(12))]));"""
    )
    assert np.reshape(bytes_, (3, 4)).tolist() == [[255, 255, 255, 255], [213, 94, 0, 255], [0, 0, 0, 255]]
