// What all widgets share: colours of the theme, controls with labels, canvases, the state, the note on a lost kernel.

const prefersDark = () => matchMedia("(prefers-color-scheme: dark)");

/** Whether the page is dark: as JupyterLab says, or a page of the book (`data-theme`), or the reader's system. */
function isDark() {
  const { jpThemeLight, theme: chosen } = document.body.dataset;
  if (jpThemeLight !== undefined) return jpThemeLight === "false";
  return chosen === "dark" || (chosen !== "light" && prefersDark().matches);
}

/** Colours for the theme that is shown now; blue and vermilion are Okabe and Ito's, lightened on dark. */
export function theme() {
  const dark = isDark();
  return dark
    ? { dark, paper: [24, 24, 27], ink: "#eeeeee", grey: "#a8a8a8", rule: "#4a4a4a", shade: "rgba(255,255,255,0.09)",
        on: [86, 180, 233], off: [255, 140, 66], mark: "#3ddbac", note: "#ff8c42" }
    : { dark, paper: [255, 255, 255], ink: "#1a1a1a", grey: "#5f5f5f", rule: "#c8c8c8", shade: "rgba(0,0,0,0.07)",
        on: [0, 114, 178], off: [213, 94, 0], mark: "#007a5a", note: "#a84300" };
}

export const css = (rgb, alpha = 1) => `rgba(${rgb[0]},${rgb[1]},${rgb[2]},${alpha})`;

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

const STYLE = `
.snn { position: relative; font: 13px/1.45 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--snn-ink); background: var(--snn-paper);
  border: 1px solid var(--snn-rule); border-radius: 4px; padding: 8px; max-width: 980px; box-sizing: border-box; }
.snn * { box-sizing: border-box; }
.snn .bar { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center; margin: 4px 0; }
.snn label { display: inline-flex; gap: 6px; align-items: center; max-width: 100%; white-space: nowrap; }
.snn button, .snn select { font: inherit; color: inherit; background: transparent; border: 1px solid var(--snn-grey);
  border-radius: 3px; padding: 2px 9px; min-height: 26px; }
.snn option { color: black; background: white; }
.snn button { cursor: pointer; }
.snn button:disabled, .snn select:disabled { opacity: 0.45; cursor: default; }
.snn :focus-visible { outline: 2px solid var(--snn-focus); outline-offset: 1px; }
.snn input[type=range] { accent-color: var(--snn-focus); min-width: 60px; flex: 0 1 auto; }
.snn canvas { display: block; touch-action: pan-y; }
.snn .panels { display: flex; flex-wrap: wrap; gap: 10px; align-items: flex-start; }
.snn .facts { font-variant-numeric: tabular-nums; min-height: 1.45em; }
.snn .note { color: var(--snn-note); font-weight: 600; margin: 4px 0 0; }
.snn .note:empty { display: none; }
.snn .said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.snn .keys { color: var(--snn-grey); font-size: 12px; }
`;

/** Create the widget's box in `el`; shortcuts of JupyterLab are off inside, so that space and arrows are ours. */
export function makeRoot(el, title) {
  const root = document.createElement("section");
  root.className = "snn";
  root.tabIndex = -1;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", title);
  root.dataset.lmSuppressShortcuts = "true";
  const style = document.createElement("style");
  style.textContent = STYLE;
  root.append(style);
  el.append(root);
  paintRoot(root);
  return root;
}

function paintRoot(root) {
  const colours = theme();
  const names = { ink: colours.ink, paper: css(colours.paper), rule: colours.rule, grey: colours.grey,
    focus: css(colours.on), note: colours.note };
  for (const [name, value] of Object.entries(names)) root.style.setProperty(`--snn-${name}`, value);
}

export function make(parent, tag, attributes = {}, text = "") {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  parent.append(node);
  return node;
}

export function button(parent, text, label, clicked) {
  const node = make(parent, "button", { type: "button", "aria-label": label, title: label }, text);
  node.addEventListener("click", clicked);
  return node;
}

/** Give a button other words, and say the same to those who cannot see it. */
export function relabel(node, text, label = text) {
  if (node.textContent === text && node.title === label) return;
  node.textContent = text;
  node.title = label;
  node.setAttribute("aria-label", label);
}

/** Words for a screen reader, once they have rested: what runs sixty times a second is said when it stands still. */
export function announcer(root, restMs = 700) {
  const node = make(root, "div", { class: "said", role: "status", "aria-live": "polite" });
  let timer = null;
  return (words) => {
    clearTimeout(timer);
    timer = setTimeout(() => { node.textContent = words; }, restMs);
  };
}

/** A class in words: its name, or "a 3" where it has none but its number. */
export function className(classes, label) {
  return classes[label] === String(label) ? `a ${label}` : classes[label];
}

/** A labelled slider; `show` turns its value into the words beside it. Returns {node, set}. */
export function slider(parent, text, { min, max, step, value, show = String, width = 140 }, changed) {
  const label = make(parent, "label", {}, text);
  const node = make(label, "input", { type: "range", min, max, step, "aria-label": text });
  const words = make(label, "span", { class: "facts", "aria-hidden": "true" });
  node.style.width = `${width}px`;
  const set = (number) => {
    node.value = number;
    words.textContent = show(number);
    node.setAttribute("aria-valuetext", show(number));
  };
  node.addEventListener("input", () => {
    set(Number(node.value));
    changed(Number(node.value));
  });
  set(value);
  return { node, set };
}

/** A labelled menu over `options`, a list of [value, words]. Returns {node, set}. */
export function menu(parent, text, options, value, changed) {
  const label = make(parent, "label", {}, text);
  const node = make(label, "select", { "aria-label": text });
  options.forEach(([, words], index) => make(node, "option", { value: index }, words));
  const set = (wanted) => {
    node.selectedIndex = options.findIndex(([option]) => option === wanted);
  };
  node.addEventListener("change", () => changed(options[node.selectedIndex][0]));
  set(value);
  return { node, set };
}

export function checkbox(parent, text, value, changed) {
  const label = make(parent, "label");
  const node = make(label, "input", { type: "checkbox" });
  node.checked = value;
  label.append(text);
  node.addEventListener("change", () => changed(node.checked));
  const set = (wanted) => {
    node.checked = wanted;
  };
  return { node, set };
}

/** A canvas of CSS size, sharp on any screen, with a label for those who cannot see it. */
export function surface(parent, label, width, height) {
  const node = make(parent, "canvas", { role: "img", "aria-label": label });
  const self = { node, width, height, context: node.getContext("2d") };
  self.resize = (wide, high) => {
    const ratio = globalThis.devicePixelRatio || 1;
    self.width = wide;
    self.height = high;
    node.style.width = `${wide}px`;
    node.style.height = `${high}px`;
    node.width = Math.round(wide * ratio);
    node.height = Math.round(high * ratio);
    self.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  };
  self.say = (words) => {
    if (node.getAttribute("aria-label") !== words) node.setAttribute("aria-label", words);
  };
  self.resize(width, height);
  return self;
}

/** A copy of a surface that is drawn rarely and put under what moves. */
export function layer(of) {
  const node = document.createElement("canvas");
  node.width = of.node.width;
  node.height = of.node.height;
  const context = node.getContext("2d");
  const ratio = of.node.width / of.width;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { node, context, width: of.width, height: of.height };
}

export function lay(surfaceBelow, above) {
  const { context, width, height } = surfaceBelow;
  context.clearRect(0, 0, width, height);
  context.drawImage(above.node, 0, 0, width, height);
}

export function text(context, words, x, y, colour, { align = "left", size = 11, baseline = "alphabetic" } = {}) {
  context.font = `${size}px system-ui, sans-serif`;
  context.fillStyle = colour;
  context.textAlign = align;
  context.textBaseline = baseline;
  context.fillText(words, x, y);
}

export function line(context, points, colour, width = 1, dash = []) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.beginPath();
  points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
  context.setLineDash([]);
}

/** Time that runs in the browser: calls `advance(ms since the last frame)` once a frame while it plays. */
export class Clock {
  constructor(advance) {
    this.advance = advance;
    this.playing = false;
    this.tick = this.tick.bind(this);
  }

  start() {
    if (this.playing) return;
    this.playing = true;
    this.last = null;
    requestAnimationFrame(this.tick);
  }

  stop() {
    this.playing = false;
  }

  tick(now) {
    if (!this.playing) return;
    // The first frame has no predecessor; after a hidden tab, time goes on where it stood.
    const passed = this.last === null ? 0 : Math.min(250, now - this.last);
    this.last = now;
    this.advance(passed);
    if (this.playing) requestAnimationFrame(this.tick);
  }
}

/** What a person has chosen. It stays in the browser until the widget loses the focus, then Python gets it once. */
export class Store {
  constructor(model, root, changed) {
    this.model = model;
    this.values = { ...model.get("state") };
    this.unsent = false;
    this.restored = () => {
      this.values = { ...model.get("state") };
      this.unsent = false;
      changed();
    };
    model.on("change:state", this.restored);
    root.addEventListener("focusout", (event) => {
      if (!root.contains(event.relatedTarget)) this.send();
    });
  }

  get(name) {
    return this.values[name];
  }

  set(name, value) {
    if (this.values[name] === value) return;
    this.values[name] = value;
    this.unsent = true;
  }

  send() {
    if (!this.unsent) return;
    this.unsent = false;
    this.model.off("change:state", this.restored);
    try {
      this.model.set("state", { ...this.values });
      this.model.save_changes();
    } catch {
      // The kernel is gone: what is on the screen goes on without it.
    }
    this.model.on("change:state", this.restored);
  }

  close() {
    this.model.off("change:state", this.restored);
  }
}

/** Say it when the kernel of this widget is gone, or a sentence from Python in place of an empty box. */
export function watchKernel(model, root, consequence) {
  const note = make(root, "p", { class: "note", role: "status" });
  root.prepend(note);
  const say = () => {
    note.textContent = root.dataset.lost
      ? `The kernel of this widget has gone. ${consequence} Run the cell again for a fresh one.` : "";
  };
  const lost = () => {
    root.dataset.lost = "true";
    say();
  };
  model.on("comm_live_update", lost);
  say();
  return () => model.off("comm_live_update", lost);
}

/** Redraw when the theme or the width changes; returns the function that ends it. */
export function watchLooks(root, redraw) {
  const repaint = () => {
    paintRoot(root);
    redraw();
  };
  const themes = new MutationObserver(repaint);
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "data-theme"] });
  const system = prefersDark();
  system.addEventListener("change", repaint);
  let width = root.clientWidth;
  const sizes = new ResizeObserver(() => {
    if (root.clientWidth && root.clientWidth !== width) {
      width = root.clientWidth;
      redraw();
    }
  });
  sizes.observe(root);
  return () => {
    themes.disconnect();
    system.removeEventListener("change", repaint);
    sizes.disconnect();
  };
}

/**
 * A widget's `render`: its box and its state, what `build({ model, root, store })` makes of them, and the end of it all.
 * `build` returns {redraw}, and where there is more than that: `restored` answers a state that Python gives, `listen` is
 * {event of the model: answer}, and `stop` ends what runs. Where there is nothing to draw, a sentence stands alone.
 */
export function widget(title, afterKernel, build) {
  return ({ model, el }) => {
    const root = makeRoot(el, title);
    const { sentence } = model.get("facts");
    if (sentence) {
      make(root, "p", { class: "facts", role: "status" }, sentence);
      return () => {};
    }
    const store = new Store(model, root, () => (built.restored ?? built.redraw)());
    root.snn = { store, draws: 0 };
    const built = build({ model, root, store });
    built.redraw();
    const heard = Object.entries(built.listen ?? {});
    for (const [event, answer] of heard) model.on(event, answer);
    const ends = [watchLooks(root, built.redraw), watchKernel(model, root, afterKernel)];
    return () => {
      built.stop?.();
      store.close();
      for (const [event, answer] of heard) model.off(event, answer);
      for (const end of ends) end();
    };
  };
}

/** Typed arrays over the bytes that Python sent; copied, because the bytes may lie at odd addresses. */
export function bytesOf(buffer) {
  const view = ArrayBuffer.isView(buffer) ? buffer : new Uint8Array(buffer);
  return new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

export const uint16Of = (buffer) => new Uint16Array(bytesOf(buffer).buffer);
export const uint32Of = (buffer) => new Uint32Array(bytesOf(buffer).buffer);
export const int16Of = (buffer) => new Int16Array(bytesOf(buffer).buffer);
export const float32Of = (buffer) => new Float32Array(bytesOf(buffer).buffer);

/** Bits as Python's `numpy.packbits` laid them, as bytes 0 and 1. */
export function unpackBits(packed, count) {
  const bits = new Uint8Array(count);
  for (let index = 0; index < count; index += 1) bits[index] = (packed[index >> 3] >> (7 - (index & 7))) & 1;
  return bits;
}
