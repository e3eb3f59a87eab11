// One neuron in one's hands: drag its inputs, turn its numbers; computed and drawn in the browser at once.
import { announcer, button, clamp, css, line, make, menu, slider, surface, text, theme, widget } from "./common.js";
import { currentsOf, decay, equations, simulate, summary } from "./neuron.js";

const KINDS = [["leaky", "Leaky"], ["synaptic", "Synaptic"], ["alif", "ALIF"]];
const RESETS = [["subtract", "subtract θ"], ["zero", "to zero"], ["none", "none"]];
const LEFT = 46, RIGHT = 10, INPUT = [14, 44], MEMBRANE = [56, 226], OUTPUT = [236, 262];

/** The neuron that a state describes. */
export function neuronOf(state, stepMs) {
  return { kind: state.kind, beta: decay(stepMs, state.tau_ms), alpha: decay(stepMs, state.tau_syn_ms),
    rho: decay(stepMs, state.tau_adapt_ms), threshold: state.threshold, adaptation: state.adaptation,
    reset: state.kind === "alif" ? "subtract" : state.reset };
}

function sliders(facts) {
  const ms = (value) => `${value} ms`;
  return [["tau_ms", "τ membrane", ms, () => true], ["threshold", "threshold θ", String, () => true],
    ["weight", "weight of an input", String, () => true],
    ["tau_syn_ms", "τ synapse", ms, (kind) => kind === "synaptic"],
    ["tau_adapt_ms", "τ adaptation", ms, (kind) => kind === "alif"],
    ["adaptation", "adaptation b", String, (kind) => kind === "alif"]]
    .map(([name, words, show, used]) => ({ name, words, show, used, ...facts.ranges[name] }));
}

function draw(surface, facts, record, inputs, chosen, colours) {
  const { context, width, height } = surface;
  const toX = (ms) => LEFT + ((width - LEFT - RIGHT) * ms) / (facts.step_ms * facts.num_steps);
  context.clearRect(0, 0, width, height);
  const [lowest, highest] = [Math.min(0, ...record.mem), Math.max(...record.theta, ...record.mem) * 1.08];
  const toY = (value) => MEMBRANE[1] - ((MEMBRANE[1] - MEMBRANE[0]) * (value - lowest)) / (highest - lowest);
  for (const [label, [top, bottom]] of [["inputs", INPUT], ["u", MEMBRANE], ["output", OUTPUT]]) {
    text(context, label, LEFT - 6, (top + bottom) / 2 + 4, colours.ink, { align: "right" });
    line(context, [[LEFT, bottom], [width - RIGHT, bottom]], colours.rule);
  }
  inputs.forEach((ms, index) => {
    const x = toX(ms);
    line(context, [[x, INPUT[0]], [x, INPUT[1]]], css(colours.on), index === chosen ? 4 : 2);
    context.beginPath();
    context.arc(x, INPUT[0] + 4, index === chosen ? 7 : 5, 0, 2 * Math.PI);
    context.fillStyle = css(colours.on);
    context.fill();
    line(context, [[x, INPUT[1]], [x, MEMBRANE[1]]], colours.rule, 1, [2, 4]);
  });
  const curve = (values) => [...values].map((value, step) => [toX(step * facts.step_ms), toY(value)]);
  line(context, curve(record.theta), css(colours.off), 1.5, [6, 4]);
  line(context, curve(record.mem), colours.mark, 2);
  text(context, "θ", width - RIGHT - 2, toY(record.theta.at(-1)) - 4, css(colours.off), { align: "right", size: 12 });
  text(context, "0", LEFT - 6, toY(0) + 4, colours.grey, { align: "right" });
  record.spk.forEach((spike, step) => {
    if (spike) line(context, [[toX(step * facts.step_ms), OUTPUT[0]], [toX(step * facts.step_ms), OUTPUT[1]]], colours.ink, 2.5);
  });
  for (let ms = 0; ms <= facts.step_ms * facts.num_steps; ms += 100) {
    text(context, String(ms), toX(ms), OUTPUT[1] + 15, colours.grey, { align: "center" });
  }
  text(context, "time, ms", (LEFT + width) / 2, OUTPUT[1] + 29, colours.ink, { align: "center" });
}

/** The input next to a time, or -1 if none is within `reachMs`. */
export function nearest(inputs, ms, reachMs) {
  let best = -1;
  inputs.forEach((at, index) => {
    if (Math.abs(at - ms) <= (best < 0 ? reachMs : Math.abs(inputs[best] - ms))) best = index;
  });
  return best;
}

function build({ model, root, store }) {
  const facts = model.get("facts");
  const [bar, second] = [make(root, "div", { class: "bar" }), make(root, "div", { class: "bar" })];
  const controls = {};
  const changed = (name) => (value) => { store.set(name, value); update(); };
  controls.kind = menu(bar, "Neuron", KINDS, store.get("kind"), changed("kind"));
  controls.reset = menu(bar, "Reset", RESETS, store.get("reset"), changed("reset"));
  const snap = (ms) => clamp(Math.round(ms / facts.step_ms), 0, facts.num_steps - 1) * facts.step_ms;
  let chosen = 0;
  const setInputs = (inputs) => { store.set("inputs_ms", inputs); update(); };
  const add = (ms) => {
    if (store.get("inputs_ms").length >= facts.most_inputs) return;
    chosen = store.get("inputs_ms").length;
    setInputs([...store.get("inputs_ms"), snap(ms)]);
  };
  const remove = () => {
    const rest = store.get("inputs_ms").filter((_, index) => index !== chosen);
    chosen = Math.max(0, Math.min(chosen, rest.length - 1));
    setInputs(rest);
  };
  button(bar, "Add an input", "Add an input", () => add((store.get("inputs_ms").at(-1) ?? 0) + 4 * facts.step_ms));
  button(bar, "Remove it", "Remove the chosen input", remove);
  for (const { name, words, show, min, max, step } of sliders(facts)) {
    controls[name] = slider(second, words, { min, max, step, value: store.get(name), show }, changed(name));
  }
  controls.restore = () => {
    for (const name of Object.keys(controls)) if (controls[name].set) controls[name].set(store.get(name));
  };
  const formula = make(root, "div", { class: "facts", role: "status", "aria-live": "off" });
  formula.style.fontFamily = "var(--jp-code-font-family, monospace)";
  formula.style.whiteSpace = "pre-line";
  const plot = surface(root, "Inputs, membrane with threshold, and output spikes over time", 700, 296);
  plot.node.tabIndex = 0;
  const words = make(root, "div", { class: "facts" });
  make(root, "div", { class: "keys" }, "Drag an input along the time line, click beside one to add one. "
    + "Keys there: left and right move the chosen input, up and down choose, Insert adds, Delete removes.");

  const announce = announcer(root);

  function update() {
    const state = store.values;
    const neuron = neuronOf(state, facts.step_ms);
    const record = simulate(neuron, currentsOf(state.inputs_ms, state.weight, facts.step_ms, facts.num_steps));
    for (const { name, used } of sliders(facts)) controls[name].node.disabled = !used(state.kind);
    controls.reset.node.disabled = state.kind === "alif";
    formula.textContent = equations(neuron).join("\n");
    words.textContent = summary(record, state.inputs_ms.length, facts.step_ms);
    announce(words.textContent);
    plot.say(`Inputs, membrane with threshold, and output spikes over time: ${words.textContent}`);
    draw(plot, facts, record, state.inputs_ms, chosen, theme());
    Object.assign(root.snn, { record, draws: root.snn.draws + 1 });
  }

  const toMs = (x) => ((x - LEFT) / (plot.width - LEFT - RIGHT)) * facts.step_ms * facts.num_steps;
  plot.node.addEventListener("pointerdown", (event) => {
    const at = toMs(event.offsetX);
    const found = nearest(store.get("inputs_ms"), at, 1.5 * facts.step_ms);
    plot.node.setPointerCapture(event.pointerId);
    if (found < 0) add(at);
    else chosen = found;
    update();
  });
  plot.node.addEventListener("pointermove", (event) => {
    if (!event.buttons || !store.get("inputs_ms").length) return;
    setInputs(store.get("inputs_ms").map((ms, index) => (index === chosen ? snap(toMs(event.offsetX)) : ms)));
  });
  plot.node.addEventListener("keydown", (event) => {
    const inputs = store.get("inputs_ms");
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const pick = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (step) setInputs(inputs.map((ms, index) => (index === chosen ? snap(ms + step * facts.step_ms) : ms)));
    else if (pick && inputs.length) chosen = (chosen + pick + inputs.length) % inputs.length;
    else if (event.key === "Insert") add((inputs.at(-1) ?? 0) + 4 * facts.step_ms);
    else if (event.key === "Delete") remove();
    else return;
    event.preventDefault();
    update();
  });

  Object.assign(root.snn, { plot, toX: (ms) => LEFT + ((plot.width - LEFT - RIGHT) * ms) / (facts.step_ms * facts.num_steps) });
  const redraw = () => {
    plot.resize(Math.max(250, (root.clientWidth || 780) - 18), 296);
    update();
  };
  return { redraw, restored: () => { controls.restore(); update(); } };
}

const render = widget("Neuron lab", "The lab goes on in the browser.", build);
export default { render };
