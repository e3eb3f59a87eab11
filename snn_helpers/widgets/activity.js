// What a network did with one recording, decoded and counted. Pure functions.
import { bytesOf, className, float32Of, int16Of, unpackBits } from "./common.js";

/** Spikes and membranes of a sample: {sample, frames, networks: [{layer: {spk, mem}}]}; mem is null where not kept. */
export function decodeSample(facts, buffers) {
  const scales = float32Of(buffers.scales);
  const networks = facts.names.map((_, network) => Object.fromEntries(facts.layers.map((layer, index) => {
    const size = facts.num_steps * layer.size;
    const key = `${network}_${index}`;
    const raw = buffers[`mem${key}`] ? int16Of(buffers[`mem${key}`]) : null;
    const scale = scales[network * facts.layers.length + index];
    return [layer.name, { spk: unpackBits(bytesOf(buffers[`spk${key}`]), size),
      mem: raw && Float32Array.from(raw, (value) => value * scale) }];
  })));
  return { sample: new Int32Array(bytesOf(buffers.sample).buffer)[0], frames: bytesOf(buffers.frames), networks };
}

/** Spikes of each neuron up to and with `step`, for spikes [T, size]. */
export function countsUpTo(spk, size, step) {
  const counts = new Uint16Array(size);
  for (let at = 0; at < (step + 1) * size; at += 1) counts[at % size] += spk[at];
  return counts;
}

/** The race of output neurons: cumulative counts [classes][T + 1], from 0 before the first step. */
export function race(spk, classes, numSteps) {
  const lanes = Array.from({ length: classes }, () => new Uint16Array(numSteps + 1));
  for (let step = 0; step < numSteps; step += 1) {
    for (let one = 0; one < classes; one += 1) lanes[one][step + 1] = lanes[one][step] + spk[step * classes + one];
  }
  return lanes;
}

/** How C maps of H x W are laid out: columns, rows, and the picture's size with a pixel between them. */
export function grid([channels, height, width]) {
  if (height * width === 1) {
    const columns = Math.ceil(Math.sqrt(channels));
    return { columns, rows: Math.ceil(channels / columns), gap: 0, height: 1, width: 1, channels };
  }
  const columns = Math.ceil(Math.sqrt((channels * height) / width));
  return { columns, rows: Math.ceil(channels / columns), gap: 1, height, width, channels };
}

export const gridSize = (g) => [g.columns * (g.width + g.gap) - g.gap, g.rows * (g.height + g.gap) - g.gap];

/** The neuron under a pixel of that picture, or -1 between maps. */
export function neuronAt(g, x, y) {
  const [column, row] = [Math.floor(x / (g.width + g.gap)), Math.floor(y / (g.height + g.gap))];
  const [inX, inY] = [Math.floor(x) - column * (g.width + g.gap), Math.floor(y) - row * (g.height + g.gap)];
  const channel = row * g.columns + column;
  if (x < 0 || y < 0 || column >= g.columns || inX >= g.width || inY >= g.height || channel >= g.channels) return -1;
  return (channel * g.height + inY) * g.width + inX;
}

/** Where a neuron lies in that picture, [x, y]. */
export function placeOf(g, neuron) {
  const channel = Math.floor(neuron / (g.height * g.width));
  const rest = neuron % (g.height * g.width);
  return [(channel % g.columns) * (g.width + g.gap) + (rest % g.width),
    Math.floor(channel / g.columns) * (g.height + g.gap) + Math.floor(rest / g.width)];
}

/** The neuron that fires most, or the one of highest membrane where none fires. */
export function busiest(record, size, numSteps) {
  const counts = countsUpTo(record.spk, size, numSteps - 1);
  const best = counts.reduce((most, count, neuron) => (count > counts[most] ? neuron : most), 0);
  if (counts[best] || !record.mem) return best;
  const at = record.mem.reduce((most, value, place) => (value > record.mem[most] ? place : most), 0);
  return at % size;
}

/** What a network answers for a recording, in one line; without an output spike its membranes decide, if there are any. */
export function verdict(facts, network, sample) {
  const { step_ms: stepMs, classes, labels } = facts;
  const [answer, label] = [facts.decided[network][sample], labels ? labels[sample] : null];
  const truth = label === null ? "" : `, it is ${className(classes, label)}`;
  if (answer === null) return `${facts.names[network]}: no output spike, undecided${truth}`;
  const right = label === null ? "" : answer === label ? " (right)" : " (wrong)";
  const fromMs = Math.round(facts.settled[network][sample] * stepMs);
  return `${facts.names[network]}: says ${classes[answer]} from ${fromMs} ms on${truth}${right}`;
}
