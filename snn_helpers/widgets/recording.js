// A recording in the browser: its events, its counts, and how it is drawn. Pure but for the canvases given.
import { bytesOf, clamp, css, line, text, uint16Of, uint32Of } from "./common.js";

/** Events and counts from what Python sent; `cumulative[2 ms + p]` events of polarity p come before that ms. */
export function decode(facts, buffers) {
  return { ...facts, x: uint16Of(buffers.x), y: uint16Of(buffers.y), p: bytesOf(buffers.p), t: uint32Of(buffers.t),
    cumulative: uint32Of(buffers.cumulative) };
}

/** Index of the first of the sorted times that is not before `us`. */
export function lowerBound(times, us) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < us) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The bin of `binMs` that a time falls in, [start, stop) in ms, counted from time 0. */
export function binAround(timeMs, binMs) {
  const start = Math.floor(timeMs / binMs) * binMs;
  return [start, start + binMs];
}

/** True counts {off, on} of events in [fromMs, toMs), whole ms. */
export function countsBetween(recording, fromMs, toMs) {
  const last = recording.cumulative.length / 2 - 1;
  const [from, to] = [clamp(Math.floor(fromMs), 0, last), clamp(Math.floor(toMs), 0, last)];
  const at = recording.cumulative;
  return { off: at[2 * to] - at[2 * from], on: at[2 * to + 1] - at[2 * from + 1] };
}

/**
 * A picture of the sensor that is no finer than the canvas it is drawn on: `pool` x `pool` pixels of the sensor are one
 * cell, so that work per frame follows what can be seen. `cells[i]` is where event i counts in `field`, [2, rows, columns]
 * (OFF, ON); `work` counts what the last frame took, in events and cells.
 */
export function fieldPicture(recording, most) {
  const { width, height, x, y, p } = recording;
  const pool = Math.max(1, Math.ceil(Math.max(width / most.width, height / most.height)));
  const [columns, rows] = [Math.ceil(width / pool), Math.ceil(height / pool)];
  const cells = new Uint32Array(x.length);
  for (let i = 0; i < cells.length; i += 1) {
    cells[i] = (p[i] * rows + Math.floor(y[i] / pool)) * columns + Math.floor(x[i] / pool);
  }
  return { pool, columns, rows, cells, field: new Float32Array(2 * columns * rows), work: { events: 0, cells: 0 } };
}

const FADES = 6; // bin widths after which a fading trace is not drawn any more
const FADE_STEPS = 256; // a trace's strength is computed once in so many parts of a bin

/**
 * Set each cell's strength, `picture.field`: counts of the bin or so far, or a fading trace. While time moves forward, only
 * the events since the last frame are added.
 */
export function strengths(recording, picture, timeMs, binMs, mode) {
  const { t } = recording;
  const { field, cells, work, last: before } = picture;
  const [start, stop] = binAround(timeMs, binMs);
  const froms = { bin: start, decay: Math.max(0, timeMs - FADES * binMs), accumulate: 0 };
  const now = { mode, binMs, timeMs, start, end: lowerBound(t, 1000 * (mode === "bin" ? stop : timeMs)) };
  const goesOn = before && before.mode === mode && before.binMs === binMs && timeMs >= before.timeMs
    && (mode === "bin" ? start === before.start : mode === "accumulate" || timeMs - before.timeMs < binMs);
  if (!goesOn) field.fill(0);
  else if (mode === "decay") {
    const faded = Math.exp((before.timeMs - timeMs) / binMs);
    for (let i = 0; i < field.length; i += 1) field[i] *= faded;
  }
  const first = goesOn ? before.end : lowerBound(t, 1000 * froms[mode]);
  let [weight, until] = [1, mode === "decay" ? -1 : Number.POSITIVE_INFINITY];
  for (let i = first; i < now.end; i += 1) {
    if (t[i] > until) {
      weight = Math.exp((t[i] / 1000 - timeMs) / binMs);
      until = t[i] + (1000 * binMs) / FADE_STEPS;
    }
    field[cells[i]] += weight;
  }
  picture.last = now;
  work.events = now.end - first;
  work.cells = field.length;
  return field;
}

/** Colour strengths as RGBA bytes (a Uint8ClampedArray, which clamps): paper where nothing was, ON and OFF in their colours. */
export function colourField(field, pixels, colours, full, bytes) {
  const { paper, on, off } = colours;
  for (let i = 0; i < pixels; i += 1) {
    const a = Math.min(1, field[i] / full);
    const b = Math.min(1, field[pixels + i] / full);
    for (let c = 0; c < 3; c += 1) {
      bytes[4 * i + c] = paper[c] + a * (off[c] - paper[c]) + b * (on[c] - paper[c]);
    }
    bytes[4 * i + 3] = 255;
  }
  return bytes;
}

/** The count that gets full colour: wider bins pile up more. */
export const fullCount = (mode, binMs) => (mode === "bin" ? 1 + binMs / 25 : mode === "decay" ? 1 : 4);

/** Draw the field of pixels at a time, enlarged without smoothing; `picture` as `fieldPicture` makes it. */
export function drawField(surface, picture, recording, timeMs, binMs, mode, colours) {
  const { columns, rows, pool } = picture;
  picture.canvas ??= smallCanvas(columns, rows);
  const { node, context } = picture.canvas;
  picture.image ??= context.createImageData(columns, rows);
  const field = strengths(recording, picture, timeMs, binMs, mode);
  // Edges are lines: a cell that is `pool` pixels wide collects as many times the events of a pixel on one.
  colourField(field, columns * rows, colours, pool * fullCount(mode, binMs), picture.image.data);
  context.putImageData(picture.image, 0, 0);
  // The last column and row of cells may reach beyond the sensor.
  enlarge(node, recording.width / pool, recording.height / pool, surface, colours);
}

/** Draw the first columns and rows of a small canvas as large as a surface, without smoothing, in a frame. */
export function enlarge(node, wide, high, { context, width, height }, colours) {
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, width, height);
  context.drawImage(node, 0, 0, wide, high, 0, 0, width, height);
  context.strokeStyle = colours.grey;
  context.strokeRect(0.5, 0.5, width - 1, height - 1);
}

/** Size [width, height] in CSS pixels of a picture of the sensor, in its proportion, within a square of `side`. */
export function fieldSize(recording, side) {
  const scale = side / Math.max(recording.width, recording.height);
  return [Math.max(1, Math.round(recording.width * scale)), Math.max(1, Math.round(recording.height * scale))];
}

export function smallCanvas(width, height) {
  const node = document.createElement("canvas");
  node.width = width;
  node.height = height;
  return { node, context: node.getContext("2d", { willReadFrequently: true }) };
}

export const SIDE = { left: 40, right: 14, top: 16, gap: 22, rate: 70, bottom: 30 };

export function sideScale(surface, recording) {
  const wide = surface.width - SIDE.left - SIDE.right;
  return { toX: (ms) => SIDE.left + (wide * ms) / recording.end_ms,
    toMs: (x) => clamp(((x - SIDE.left) / wide) * recording.end_ms, 0, recording.end_ms),
    cloud: surface.height - SIDE.top - SIDE.gap - SIDE.rate - SIDE.bottom };
}

/**
 * Draw what does not move: x, from 0 at the bottom as in the still figures, against time, the saccades, and the event rate
 * below. Of the events every `dot_stride`th is a dot; returns how many.
 */
export function drawSide(onto, recording, colours) {
  const { context, width, height } = onto;
  const { toX, cloud } = sideScale(onto, recording);
  context.clearRect(0, 0, width, height);
  const rateTop = SIDE.top + cloud + SIDE.gap;
  const floor = rateTop + SIDE.rate;
  recording.saccades_ms.forEach(([start, stop], index) => {
    context.fillStyle = colours.shade;
    const end = Math.min(stop, recording.end_ms);
    context.fillRect(toX(start), SIDE.top, toX(end) - toX(start), floor - SIDE.top);
    text(context, `saccade ${index + 1}`, toX((start + end) / 2), 11, colours.grey, { align: "center" });
  });
  const { x, p, t, dot_stride: stride } = recording;
  let dots = 0;
  const toY = (place) => SIDE.top + ((recording.width - 0.8 - place) * cloud) / recording.width;
  for (const [polarity, rgb] of [[0, colours.off], [1, colours.on]]) {
    context.fillStyle = css(rgb, colours.dark ? 0.8 : 0.6);
    for (let i = 0; i < t.length; i += stride) {
      if (p[i] !== polarity) continue;
      context.fillRect(toX(t[i] / 1000), toY(x[i]), 1.5, 1.5);
      dots += 1;
    }
  }
  drawRates(context, recording, colours, toX, rateTop, floor);
  text(context, "x", 14, SIDE.top + cloud / 2, colours.ink, { align: "center" });
  text(context, String(recording.width - 1), SIDE.left - 4, SIDE.top + 8, colours.grey, { align: "right" });
  text(context, "0", SIDE.left - 4, SIDE.top + cloud, colours.grey, { align: "right" });
  const tick = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000].find((ms) => recording.end_ms / ms <= 8);
  for (let ms = 0; ms <= recording.end_ms; ms += tick) {
    line(context, [[toX(ms), floor], [toX(ms), floor + 4]], colours.grey);
    text(context, String(ms), toX(ms), floor + 15, colours.grey, { align: "center" });
  }
  text(context, "time, ms", SIDE.left + (width - SIDE.left) / 2, floor + 28, colours.ink, { align: "center" });
  return dots;
}

/** A rate in words that fit beside the axis: 0.25, 17, 1667. */
export const rateWords = (perMs) => (perMs < 100 ? perMs.toPrecision(2) : String(Math.round(perMs)));

function drawRates(context, recording, colours, toX, top, floor) {
  const step = Math.max(1, Math.round(recording.end_ms / 64));
  const bars = [];
  for (let ms = 0; ms < recording.end_ms; ms += step) bars.push([ms, countsBetween(recording, ms, ms + step)]);
  const tallest = Math.max(1, ...bars.map(([, counts]) => Math.max(counts.on, counts.off)));
  const toY = (count) => floor - ((floor - top) * count) / tallest;
  for (const [name, rgb] of [["off", colours.off], ["on", colours.on]]) {
    const points = bars.flatMap(([ms, counts]) => [[toX(ms), toY(counts[name])], [toX(ms + step), toY(counts[name])]]);
    line(context, points, css(rgb), 1.5);
  }
  line(context, [[toX(0), floor], [toX(recording.end_ms), floor]], colours.grey);
  text(context, "events / ms", SIDE.left + 4, top - 4, colours.ink);
  text(context, rateWords(tallest / step), SIDE.left - 4, top + 8, colours.grey, { align: "right" });
}

/** Draw the time: the bin as a band and the moment as a line. */
export function drawCursor(surface, recording, timeMs, binMs, mode, colours) {
  const { toX } = sideScale(surface, recording);
  const bottom = surface.height - SIDE.bottom;
  if (mode === "bin") {
    const [start, stop] = binAround(timeMs, binMs);
    surface.context.fillStyle = css(colours.off, 0.16);
    surface.context.fillRect(toX(start), SIDE.top, Math.max(1, toX(Math.min(stop, recording.end_ms)) - toX(start)), bottom - SIDE.top);
  }
  line(surface.context, [[toX(timeMs), SIDE.top], [toX(timeMs), bottom]], colours.ink, 1.5);
}
