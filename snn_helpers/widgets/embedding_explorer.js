// A scatter of recordings; a point opens its recording beside it, a lasso chooses many, time or epochs run.
import { Clock, announcer, button, clamp, css, float32Of, line, make, menu, relabel, slider, surface, text, theme,
  widget } from "./common.js";
import { describe, describeMany, fitter, inside, nearestPoint, positionsAt, signOf } from "./embedding.js";
import { decode, drawField, fieldPicture, fieldSize } from "./recording.js";

function buildControls(root, facts, store, act) {
  const controls = {};
  const bar = make(root, "div", { class: "bar" });
  const colours = facts.colour_by.map((name) => [name, name]);
  controls.colour = menu(bar, "Colour", colours, store.get("colour"), (name) => {
    store.set("colour", name);
    act.draw();
  });
  controls.frame = slider(bar, facts.frame_word, { min: 0, max: facts.frames - 1, step: 0.01, value: store.get("frame"), width: 200,
    show: (frame) => facts.frame_names[Math.round(frame)] }, (frame) => {
    store.set("frame", frame);
    act.draw();
  });
  controls.run = button(bar, "Run through", `Run through every ${facts.frame_word}`, () => act.run());
  if (facts.frames < 2) {
    controls.frame.node.parentElement.style.display = "none";
    controls.run.style.display = "none";
  }
  button(bar, "Choose none", "Choose none", () => {
    store.set("chosen", []);
    act.draw();
  });
  controls.restore = () => {
    controls.colour.set(store.get("colour"));
    controls.frame.set(store.get("frame"));
  };
  return controls;
}

function buildPlayer(parent, root, model) {
  const box = make(parent, "div");
  box.style.width = "238px";
  const title = make(box, "div", { class: "facts", role: "status" }, "Click a point to play its recording.");
  const field = surface(box, "The recording of the point that was clicked", 238, 238);
  field.node.style.visibility = "hidden";
  const self = { recording: null, time: 0, picture: null };
  self.clock = new Clock((passed) => {
    self.time = (self.time + passed / 5) % self.recording.end_ms;
    drawField(field, self.picture, self.recording, self.time, 20, "decay", theme());
    root.snn.playerDraws += 1;
  });
  self.open = () => {
    const facts = model.get("opened");
    if (facts.index === undefined) return;
    if (facts.sentence) {
      title.textContent = facts.sentence;
      field.node.style.visibility = "hidden";
      self.clock.stop();
      return;
    }
    self.recording = decode(facts, model.get("buffers"));
    field.resize(...fieldSize(self.recording, 238));
    self.picture = fieldPicture(self.recording, field.node);
    self.time = 0;
    field.node.style.visibility = "visible";
    title.textContent = `${describe(model.get("facts"), facts.index)}: ${facts.total} events, at a fifth of the speed`;
    field.say(`The events of ${title.textContent}`);
    self.clock.start();
    root.snn.opened = facts.index;
  };
  return self;
}

function build({ model, root, store }) {
  const facts = model.get("facts");
  const points = float32Of(model.get("points"));
  const clock = new Clock((passed) => {
    const frame = Math.min(facts.frames - 1, store.get("frame") + passed / 700);
    store.set("frame", frame);
    if (frame >= facts.frames - 1) clock.stop();
    draw();
  });
  const act = { draw: () => draw(), run: () => {
    if (clock.playing) clock.stop();
    else {
      if (store.get("frame") >= facts.frames - 1) store.set("frame", 0);
      clock.start();
    }
    draw();
  } };
  const controls = buildControls(root, facts, store, act);
  const panels = make(root, "div", { class: "panels" });
  const plot = surface(panels, "Recordings as points; numbers are classes", 480, 400);
  plot.node.tabIndex = 0;
  plot.node.style.touchAction = "none"; // a line is drawn around points with a finger, too
  const words = make(root, "div", { class: "facts" });
  const announce = announcer(root);
  make(root, "div", { class: "keys" }, "Click a point to play its recording; drag a line around points to choose them. "
    + "Keys in the plot: left and right go from point to point, Enter plays it, Escape chooses none.");
  if (facts.note) make(root, "div", { class: "facts" }, facts.note);
  Object.assign(root.snn, { clock, playerDraws: 0, plot });
  const player = buildPlayer(panels, root, model);
  let [lasso, cursor, toPixel] = [[], -1, null];

  function fit() {
    const wide = (root.clientWidth || 780) - 18;
    plot.resize(Math.max(250, wide > 600 ? wide - 260 : wide), 400);
    toPixel = fitter(points, plot.width, plot.height);
  }

  function draw() {
    const colours = theme();
    const at = positionsAt(points, facts.samples, store.get("frame"));
    const pixels = new Float32Array(at.length);
    for (let i = 0; i < at.length; i += 2) [pixels[i], pixels[i + 1]] = toPixel(at[i], at[i + 1]);
    root.snn.pixels = pixels;
    const chosen = new Set(store.get("chosen"));
    plot.context.clearRect(0, 0, plot.width, plot.height);
    for (let index = 0; index < facts.samples; index += 1) {
      const { sign, rgb } = signOf(facts, index, store.get("colour"), colours);
      const faint = chosen.size && !chosen.has(index) ? 0.25 : 1;
      text(plot.context, sign, pixels[2 * index], pixels[2 * index + 1], css(rgb, faint), { align: "center", baseline: "middle", size: 12 });
    }
    for (const [index, colour] of [[store.get("opened"), colours.ink], [cursor, css(colours.off)]]) {
      if (index < 0) continue;
      plot.context.strokeStyle = colour;
      plot.context.lineWidth = 2;
      plot.context.beginPath();
      plot.context.arc(pixels[2 * index], pixels[2 * index + 1], 9, 0, 2 * Math.PI);
      plot.context.stroke();
    }
    if (lasso.length > 1) line(plot.context, lasso, colours.ink, 1.5, [4, 3]);
    controls.frame.set(store.get("frame"));
    if (clock.playing) relabel(controls.run, "Stop");
    else relabel(controls.run, "Run through", `Run through every ${facts.frame_word}`);
    words.textContent = describeMany(facts, store.get("chosen")) || (cursor >= 0 ? describe(facts, cursor) : `${facts.samples} recordings`);
    announce(words.textContent);
    plot.say(`${facts.samples} recordings as points, coloured by ${store.get("colour")}; numbers are classes. ${words.textContent}`);
    root.snn.draws += 1;
  }

  function open(index) {
    store.set("opened", index);
    store.send();
    draw();
  }

  plot.node.addEventListener("pointerdown", (event) => {
    lasso = [[event.offsetX, event.offsetY]];
    plot.node.setPointerCapture(event.pointerId);
  });
  plot.node.addEventListener("pointermove", (event) => {
    if (!event.buttons || !lasso.length) return;
    lasso.push([event.offsetX, event.offsetY]);
    draw();
  });
  plot.node.addEventListener("pointerup", (event) => {
    const moved = lasso.some(([x, y]) => Math.hypot(x - lasso[0][0], y - lasso[0][1]) > 6);
    const polygon = lasso;
    lasso = [];
    const { pixels } = root.snn;
    if (moved) {
      const found = [];
      for (let index = 0; index < facts.samples; index += 1) if (inside(polygon, pixels[2 * index], pixels[2 * index + 1])) found.push(index);
      store.set("chosen", found);
      draw();
    } else {
      const index = nearestPoint(pixels, event.offsetX, event.offsetY, 12);
      if (index >= 0) open(index);
    }
  });
  plot.node.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) cursor = clamp(cursor < 0 ? 0 : cursor + step, 0, facts.samples - 1);
    else if (event.key === "Enter" && cursor >= 0) open(cursor);
    else if (event.key === "Escape") store.set("chosen", []);
    else return;
    event.preventDefault();
    draw();
  });
  player.open();
  return { redraw: () => { fit(); draw(); }, restored: () => { controls.restore(); draw(); },
    listen: { "change:opened": player.open }, stop: () => { clock.stop(); player.clock.stop(); } };
}

const render = widget("Embedding explorer", "Points can be chosen; recordings cannot be opened.", build);
export default { render };
