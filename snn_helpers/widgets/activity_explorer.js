// One recording through a network, everything under one cursor; time is the browser's.
import { busiest, countsUpTo, decodeSample, grid, gridSize, neuronAt, placeOf, race, verdict } from "./activity.js";
import { Clock, announcer, button, checkbox, clamp, css, lay, layer, line, make, menu, relabel, slider, surface, text, theme,
  widget } from "./common.js";
import { colourField, enlarge, smallCanvas } from "./recording.js";

const STYLES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];
const PLOT = { left: 44, right: 50, top: 18, bottom: 30 };

function axes(onto, endMs, highest, lowest, title, colours) {
  const { context, width, height } = onto;
  const toX = (ms) => PLOT.left + ((width - PLOT.left - PLOT.right) * ms) / endMs;
  const floor = height - PLOT.bottom;
  const toY = (value) => floor - ((floor - PLOT.top) * (value - lowest)) / (highest - lowest);
  context.clearRect(0, 0, width, height);
  text(context, title, PLOT.left, 12, colours.ink, { size: 12 });
  line(context, [[toX(0), floor], [toX(endMs), floor]], colours.grey);
  for (const share of [0, 0.5, 1]) text(context, String(Math.round(share * endMs)), toX(share * endMs), floor + 13, colours.grey, { align: "center" });
  text(context, "time, ms", toX(endMs / 2), floor + 26, colours.grey, { align: "center" });
  for (const value of [lowest, highest]) text(context, Number(value.toPrecision(2)).toString(), PLOT.left - 4, toY(value) + 4, colours.grey, { align: "right" });
  return { toX, toY };
}

function drawRace(onto, facts, lanes, network, label, answer, colours) {
  const last = facts.num_steps;
  const top = Math.max(1, ...lanes.map((lane) => lane[last]));
  const title = `${facts.names.length > 1 ? `${facts.names[network]}: ` : ""}output spikes so far`;
  const { toX, toY } = axes(onto, last * facts.step_ms, top, 0, title, colours);
  // The true class and the answer are drawn last, over the others, and named first.
  const rank = (one) => (one === label ? 2 : one === answer ? 1 : 0);
  const order = lanes.map((_, one) => one).sort((a, b) => rank(a) - rank(b));
  order.forEach((one) => {
    const wrong = one === answer && label !== null && one !== label;
    const colour = one === label ? css(colours.on) : wrong ? css(colours.off) : colours.grey;
    const points = [...lanes[one]].map((count, step) => [toX(step * facts.step_ms), toY(count)]);
    line(onto.context, points, colour, one === label || wrong ? 2.5 : 1, wrong ? [7, 3] : []);
    const together = order.filter((other) => lanes[other][last] === lanes[one][last]).reverse();
    const place = together.indexOf(one);
    // Neurons that end together are named side by side, as many as there is room for.
    if (lanes[one][last] > 0 && place < 4) {
      const sign = place === 3 && together.length > 4 ? "…" : String(one);
      text(onto.context, sign, onto.width - PLOT.right + 4 + place * 11, toY(lanes[one][last]) + 4, colour, { size: 12 });
    }
  });
  return toX;
}

function drawMembranes(onto, facts, records, neurons, size, colours) {
  const traces = records.flatMap(({ record, dash }) => (record.mem ? neurons.map((neuron, index) => ({ neuron, dash, index,
    values: Array.from({ length: facts.num_steps }, (_, step) => record.mem[step * size + neuron]) })) : []));
  const values = traces.flatMap((trace) => trace.values);
  const high = Math.max(facts.threshold * 1.2, ...values);
  const { toX, toY } = axes(onto, facts.num_steps * facts.step_ms, high, Math.min(0, ...values), "membranes of chosen neurons", colours);
  if (!traces.length) {
    text(onto.context, "membranes not kept", onto.width / 2, onto.height / 2, colours.grey, { align: "center", size: 13 });
    return toX;
  }
  line(onto.context, [[toX(0), toY(facts.threshold)], [onto.width - PLOT.right, toY(facts.threshold)]], colours.grey, 1, [4, 4]);
  const beside = onto.width - PLOT.right + 4;
  text(onto.context, "θ", beside, toY(facts.threshold) + 4, colours.grey);
  // The neurons' numbers stand at the other end of the axis than the θ.
  const thetaIsLow = toY(facts.threshold) > onto.height / 2;
  const signsAt = thetaIsLow ? PLOT.top + 10 : onto.height - PLOT.bottom;
  const shades = [colours.mark, css(colours.on), css(colours.off), colours.ink];
  traces.forEach(({ neuron, values: trace, dash, index }) => {
    line(onto.context, trace.map((value, step) => [toX((step + 1) * facts.step_ms), toY(value)]), shades[index], 1.8, dash);
    text(onto.context, `#${neuron}`, beside, signsAt + 13 * index * (thetaIsLow ? 1 : -1), shades[index]);
  });
  return toX;
}

/** The samples that a person steps through, and the next one in a direction; null where there is none. */
export function nextSample(facts, network, onlyWrong, sample, direction) {
  const wanted = facts.decided[network].map((answer, index) => !onlyWrong || (facts.labels && answer !== facts.labels[index]));
  for (let moved = 1; moved <= wanted.length; moved += 1) {
    const at = (sample + direction * moved + wanted.length * 2) % wanted.length;
    if (wanted[at]) return at;
  }
  return null;
}

function buildControls(root, facts, store, act) {
  const controls = {};
  const [bar, second] = [make(root, "div", { class: "bar" }), make(root, "div", { class: "bar" })];
  const endMs = facts.num_steps * facts.step_ms;
  controls.play = button(bar, "Play", "Play", () => act.toggle());
  controls.time = slider(bar, "Time", { min: 0, max: endMs, step: 0.1, value: store.get("time_ms"), width: 240,
    show: (ms) => `${Number(ms).toFixed(0)} ms` }, (ms) => { store.set("time_ms", ms); act.draw(); });
  controls.speed = menu(bar, "Speed", facts.speeds.map((s) => [s, s === 1 ? "real time" : `1/${Math.round(1 / s)}`]),
    store.get("speed"), (speed) => store.set("speed", speed));
  button(second, "◀", "Recording before", () => act.go(-1));
  button(second, "▶", "Next recording", () => act.go(1));
  controls.only_wrong = checkbox(second, "only wrong answers", store.get("only_wrong"), (flag) => store.set("only_wrong", flag));
  controls.only_wrong.node.disabled = !facts.labels;
  controls.layer = menu(second, "Layer", facts.layers.map(({ name }) => [name, name]), store.get("layer"), (name) => {
    store.set("layer", name);
    store.set("neurons", []);
    act.renew();
  });
  const networks = facts.names.map((name, index) => [index, name]);
  controls.network = menu(second, "Network", networks, store.get("network"), (index) => { store.set("network", index); act.renew(); });
  if (networks.length < 2) controls.network.node.parentElement.style.display = "none";
  controls.restore = () => {
    for (const name of ["speed", "only_wrong", "layer", "network"]) controls[name].set(store.get(name));
  };
  return controls;
}

function build({ model, root, store }) {
  const facts = model.get("facts");
  const endMs = facts.num_steps * facts.step_ms;
  const clock = new Clock((passed) => {
    const time = Math.min(endMs, store.get("time_ms") + passed * store.get("speed"));
    store.set("time_ms", time);
    if (time >= endMs) clock.stop();
    draw();
  });
  const act = { draw: () => draw(), renew: () => renew(), toggle: () => toggle(), go: (direction) => go(direction) };
  const controls = buildControls(root, facts, store, act);
  const heading = make(root, "div", { class: "facts", role: "status" });
  const panels = make(root, "div", { class: "panels" });
  const field = surface(panels, "The frame that the network got in this step", 170, 170);
  const maps = surface(panels, "Spikes of the layer: now, and so far; click a neuron to see its membrane", 300, 300);
  const plots = make(panels, "div", { class: "panels" });
  if (facts.names.length === 1) plots.style.flex = "1 1 260px"; // beside the maps, where there is room
  const races = facts.names.map((name) => surface(plots, `The output neurons' race, ${name}`, 260, 190));
  const mem = surface(plots, "Membranes of chosen neurons", 260, 190);
  const words = make(root, "div", { class: "facts" });
  const note = make(root, "div", { class: "facts" });
  maps.node.tabIndex = 0;
  make(root, "div", { class: "keys" }, "Keys: space plays and pauses, left and right go one step, page up and down change the "
    + "recording. In the maps: blue fires now, grey has fired; click neurons there, up to four. In the race: blue is the true "
    + "class, dashed a wrong answer; the numbers at the end are the classes.");
  const announce = announcer(root);
  const small = { field: smallCanvas(facts.width, facts.height), maps: null };
  let [sample, stills, drawnStep, current] = [decodeSample(facts, model.get("buffers")), [], -1, null];

  function renew() {
    const info = facts.layers.find(({ name }) => name === store.get("layer"));
    const records = sample.networks.map((network, index) => ({ record: network[info.name], dash: STYLES[index] }));
    const chosen = records[store.get("network")].record;
    const neurons = store.get("neurons").length ? store.get("neurons") : [busiest(chosen, info.size, facts.num_steps)];
    const output = facts.layers.at(-1);
    const lanes = sample.networks.map((network) => race(network[output.name].spk, output.size, facts.num_steps));
    const label = facts.labels ? facts.labels[sample.sample] : null;
    const colours = theme();
    current = { info, chosen, neurons, layout: grid(info.shape), lanes };
    small.maps = smallCanvas(...gridSize(current.layout));
    stills = [...races, mem].map((plot) => layer(plot));
    lanes.forEach((lane, index) => { current.toX = drawRace(stills[index], facts, lane, index, label, facts.decided[index][sample.sample], colours); });
    drawMembranes(stills.at(-1), facts, records, neurons, info.size, colours);
    const verdicts = facts.names.map((_, network) => verdict(facts, network, sample.sample));
    verdicts.forEach((words, index) => races[index].say(`The output neurons' race. ${words}`));
    mem.say(records.some(({ record }) => record.mem) ? `Membranes of ${info.name}, neurons ${neurons.join(", ")}, with the threshold`
      : `Membranes of ${info.name} are not kept`);
    heading.textContent = `Recording ${sample.sample + 1} of ${facts.samples}. ${verdicts.join(" · ")}`;
    note.textContent = [facts.note, chosen.spk.some(Boolean) ? "" : `No neuron of ${info.name} fires for this recording.`].filter(Boolean).join(" ");
    drawnStep = -1;
    root.snn.current = current;
    root.snn.sample = sample;
    draw();
  }

  function paintMaps(step, colours) {
    const { info, chosen, layout } = current;
    const { context, node } = small.maps;
    const image = context.createImageData(node.width, node.height);
    const counts = countsUpTo(chosen.spk, info.size, step);
    const rule = colours.dark ? [74, 74, 74] : [200, 200, 200];
    for (let at = 0; at < node.width * node.height; at += 1) image.data.set([...rule, 255], 4 * at);
    for (let neuron = 0; neuron < info.size; neuron += 1) {
      const [x, y] = placeOf(layout, neuron);
      const so = counts[neuron] ? 0.15 + 0.35 * Math.min(1, (3 * counts[neuron]) / facts.num_steps) : 0;
      const toward = colours.dark ? 255 : 0;
      const grey = colours.paper.map((value) => value + so * (toward - value));
      image.data.set(chosen.spk[step * info.size + neuron] ? colours.on : grey, 4 * (y * node.width + x));
    }
    context.putImageData(image, 0, 0);
    const scale = Math.min(maps.width / node.width, maps.height / node.height);
    maps.scale = scale;
    maps.context.clearRect(0, 0, maps.width, maps.height);
    maps.context.imageSmoothingEnabled = false;
    maps.context.drawImage(node, 0, 0, node.width * scale, node.height * scale);
    maps.context.strokeStyle = css(colours.off);
    maps.context.lineWidth = 2;
    for (const neuron of current.neurons) {
      const [x, y] = placeOf(layout, neuron);
      maps.context.strokeRect(x * scale - 2, y * scale - 2, scale + 4, scale + 4);
    }
  }

  function paintField(step, colours) {
    const pixels = facts.width * facts.height;
    const image = small.field.context.createImageData(facts.width, facts.height);
    colourField(sample.frames.subarray(step * 2 * pixels, (step + 1) * 2 * pixels), pixels, colours, 2, image.data);
    small.field.context.putImageData(image, 0, 0);
    enlarge(small.field.node, facts.width, facts.height, field, colours);
  }

  function draw() {
    const time = store.get("time_ms");
    const step = clamp(Math.floor(time / facts.step_ms), 0, facts.num_steps - 1);
    const colours = theme();
    if (step !== drawnStep) {
      paintField(step, colours);
      paintMaps(step, colours);
      const { info, chosen, lanes } = current;
      const now = chosen.spk.subarray(step * info.size, (step + 1) * info.size).reduce((sum, spike) => sum + spike, 0);
      words.textContent = `step ${step} · ${info.name}: ${now} of ${info.size} neurons fire · output spikes so far, `
        + facts.names.map((name, index) => `${name}: ${lanes[index].map((lane) => lane[step + 1]).join(" ")}`).join(" · ");
      announce(words.textContent);
      if (!clock.playing) {
        field.say(`The frame that the network got in step ${step}`);
        maps.say(`Spikes of ${info.name} in step ${step}: ${now} of ${info.size} neurons fire. Click a neuron to see its membrane`);
      }
      drawnStep = step;
    }
    [...races, mem].forEach((plot, index) => {
      lay(plot, stills[index]);
      line(plot.context, [[current.toX(time), PLOT.top], [current.toX(time), plot.height - PLOT.bottom]], colours.ink, 1.5);
    });
    controls.time.set(time);
    relabel(controls.play, clock.playing ? "Pause" : "Play");
    root.snn.draws += 1;
  }

  function toggle() {
    if (clock.playing) clock.stop();
    else {
      if (store.get("time_ms") >= endMs) store.set("time_ms", 0);
      clock.start();
    }
    draw();
  }

  function go(direction) {
    const found = nextSample(facts, store.get("network"), store.get("only_wrong"), sample.sample, direction);
    if (found === null) {
      note.textContent = "There is no wrong answer among these recordings.";
      return;
    }
    store.set("sample", found);
    store.set("neurons", []);
    store.send();
  }

  const arrived = () => {
    sample = decodeSample(facts, model.get("buffers"));
    renew();
  };
  maps.node.addEventListener("click", (event) => {
    const neuron = neuronAt(current.layout, event.offsetX / maps.scale, event.offsetY / maps.scale);
    if (neuron < 0) return;
    const kept = store.get("neurons").filter((one) => one !== neuron);
    store.set("neurons", kept.length < store.get("neurons").length ? kept : [...kept, neuron].slice(-4));
    renew();
  });
  root.addEventListener("keydown", (event) => {
    const tag = event.target.tagName;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const page = { PageDown: 1, PageUp: -1 }[event.key];
    if (event.key === " " && tag !== "BUTTON" && tag !== "SELECT" && event.target.type !== "checkbox") toggle();
    else if (step && tag !== "SELECT") {
      store.set("time_ms", clamp((Math.floor(store.get("time_ms") / facts.step_ms) + step) * facts.step_ms, 0, endMs));
      draw();
    } else if (page) go(page);
    else return;
    event.preventDefault();
  });
  Object.assign(root.snn, { clock, facts, maps, field });
  return { redraw: renew, restored: () => { controls.restore(); renew(); }, listen: { "change:buffers": arrived },
    stop: () => clock.stop() };
}

const render = widget("Activity explorer", "This recording can still be played; another one cannot be fetched.", build);
export default { render };
