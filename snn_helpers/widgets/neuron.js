// One spiking neuron over time, in float32 as `engine/reference.py` computes it: equal to the last bit.
const f = Math.fround;

/** The decay of one step, exp(-step / tau). */
export const decay = (stepMs, tauMs) => Math.exp(-stepMs / tauMs);

/** Currents [T]: each input adds `weight` at its step. */
export function currentsOf(inputsMs, weight, stepMs, numSteps) {
  const counts = new Float32Array(numSteps);
  for (const ms of inputsMs) counts[Math.round(ms / stepMs)] += 1;
  return counts.map((count) => f(f(weight) * count));
}

/**
 * Run a neuron {kind, beta, threshold, alpha, rho, adaptation, reset} over currents [T].
 * Returns {mem, spk, theta}, each [T]: the membrane before the reset, spikes, and the threshold of each step.
 * Reset, one step after a spike: `subtract` takes the threshold out, `zero` empties the membrane, `none` does nothing.
 */
export function simulate(neuron, currents) {
  const [beta, threshold, alpha, rho, rise] = [neuron.beta, neuron.threshold, neuron.alpha, neuron.rho,
    neuron.adaptation].map((value) => f(value ?? 0));
  const keep = f(1 - rho);
  const record = { mem: new Float32Array(currents.length), spk: new Float32Array(currents.length),
    theta: new Float32Array(currents.length) };
  let [mem, spk, syn, adapted] = [0, 0, 0, 0];
  for (let step = 0; step < currents.length; step += 1) {
    const before = neuron.kind === "alif" ? f(threshold + f(rise * adapted)) : threshold;
    adapted = f(f(rho * adapted) + f(keep * spk));
    const theta = neuron.kind === "alif" ? f(threshold + f(rise * adapted)) : threshold;
    syn = neuron.kind === "synaptic" ? f(f(alpha * syn) + currents[step]) : currents[step];
    if (neuron.reset === "zero" && spk) mem = 0;
    const taken = neuron.reset === "subtract" ? f(spk * before) : 0;
    mem = f(f(f(beta * mem) + syn) - taken);
    spk = mem > theta ? 1 : 0;
    record.mem[step] = mem;
    record.spk[step] = spk;
    record.theta[step] = theta;
  }
  return record;
}

const number = (value) => Number(value).toPrecision(3);

/** The equations with the present numbers, one a line. */
export function equations(neuron) {
  const [beta, theta] = [number(neuron.beta), number(neuron.threshold)];
  const input = neuron.kind === "synaptic" ? "i[t]" : "x[t]";
  const level = neuron.kind === "alif" ? "θ[t]" : theta;
  const before = neuron.kind === "alif" ? "θ[t−1]" : theta;
  const membrane = { subtract: `u[t] = ${beta} u[t−1] + ${input} − ${before} s[t−1]`,
    zero: `u[t] = ${beta} u[t−1] (1 − s[t−1]) + ${input}`, none: `u[t] = ${beta} u[t−1] + ${input}` }[neuron.reset];
  const lines = [`${membrane},  s[t] = 1 where u[t] > ${level}`];
  if (neuron.kind === "synaptic") lines.unshift(`i[t] = ${number(neuron.alpha)} i[t−1] + x[t]`);
  if (neuron.kind === "alif") {
    lines.unshift(`a[t] = ${number(neuron.rho)} a[t−1] + ${number(1 - neuron.rho)} s[t−1],  `
      + `θ[t] = ${theta} + ${number(neuron.adaptation)} a[t]`);
  }
  return lines;
}

/** What happens, in one line. */
export function summary(record, inputs, stepMs) {
  const times = [...record.spk.keys()].filter((step) => record.spk[step]).map((step) => Math.round(step * stepMs));
  const peak = record.mem.reduce((most, value) => Math.max(most, value), 0);
  const spikes = times.length ? `${times.length} output spike${times.length > 1 ? "s" : ""}, at `
    + `${times.slice(0, 6).join(", ")}${times.length > 6 ? ", …" : ""} ms` : "no output spike";
  return `${inputs} input${inputs === 1 ? "" : "s"} · ${spikes} · highest membrane ${peak.toFixed(3)}`;
}
