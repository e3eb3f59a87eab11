// Curves of a run while it trains, and a button that asks it to stop.
import { button, css, line, make, surface, text, theme, widget } from "./common.js";

const EDGE = { left: 44, right: 80, top: 22, bottom: 32 };
const UNHEARD_MS = 4000;

/** Lowest and highest of all points, with a margin, so that a constant curve has room, too. */
function limits(curves) {
  const values = curves.flatMap(({ points }) => points.map(([, value]) => value));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

function drawPanel({ context, width, height }, panel, colours) {
  const [low, high] = limits(panel.curves);
  const epochs = panel.curves.flatMap(({ points }) => points.map(([x]) => x));
  const [first, last] = [Math.min(...epochs), Math.max(...epochs, Math.min(...epochs) + 1)];
  const floor = height - EDGE.bottom;
  const toX = (x) => EDGE.left + ((width - EDGE.left - EDGE.right) * (x - first)) / (last - first);
  const toY = (y) => floor - ((floor - EDGE.top) * (y - low)) / (high - low);
  context.clearRect(0, 0, width, height);
  text(context, panel.title, 4, 13, colours.ink, { size: 12 });
  line(context, [[EDGE.left, EDGE.top], [EDGE.left, floor], [width - EDGE.right, floor]], colours.grey);
  for (const value of [low, high]) text(context, value.toPrecision(2), EDGE.left - 4, toY(value) + 4, colours.grey, { align: "right" });
  for (const x of [first, last]) text(context, String(x), toX(x), floor + 14, colours.grey, { align: "center" });
  text(context, "epoch", (EDGE.left + width - EDGE.right) / 2, floor + 26, colours.ink, { align: "center" });
  const shades = [css(colours.on), css(colours.off), colours.mark, "#cc79a7", "#a08000", colours.ink];
  const dashes = [[], [7, 3], [2, 3], [8, 3, 2, 3]];
  const ends = [];
  panel.curves.forEach((curve, index) => {
    const shade = shades[curve.name === "valid" ? 0 : index % shades.length];
    const colour = curve.name === "train" ? colours.grey : shade;
    const points = curve.points.map(([x, y]) => [toX(x), toY(y)]);
    line(context, points, colour, 2, curve.name === "train" ? [6, 4] : dashes[curve.name === "valid" ? 0 : index % 4]);
    context.fillStyle = colour;
    for (const [x, y] of points) context.fillRect(x - 2, y - 2, 4, 4);
    let at = points.at(-1)[1] + 4;
    const overlaps = (y) => ends.some((other) => Math.abs(other - y) < 12);
    while (overlaps(at) && at + 12 < floor) at += 12;
    while (overlaps(at)) at -= 12; // no room above the axis: to the next free place upwards
    ends.push(at);
    text(context, curve.name, points.at(-1)[0] + 6, at, colour);
  });
}

function build({ model, root, store }) {
  const bar = make(root, "div", { class: "bar" });
  let timer = null;
  const stop = button(bar, "Stop, and keep a checkpoint", "Stop the training after this step; it leaves a checkpoint", () => {
    stop.disabled = true;
    store.set("stop", true);
    store.send();
    said.textContent = "Asked to stop …";
    timer = setTimeout(() => {
      if (!model.get("status").stopping) {
        said.textContent = "The kernel has not answered yet. If it goes on training, press the notebook's own stop button "
          + "(menu Kernel, Interrupt Kernel): that leaves a checkpoint, too.";
      }
    }, UNHEARD_MS);
  });
  const said = make(bar, "span", { class: "facts", role: "status" });
  const words = make(root, "div", { class: "facts", role: "status", "aria-live": "polite" });
  const panels = make(root, "div", { class: "panels" });
  const surfaces = [];
  root.snn.panels = [];

  function draw() {
    const { panels: found, last: lastLine, stopping, ended } = model.get("status");
    const wide = Math.max(250, Math.min(310, (root.clientWidth || 780) / Math.max(1, found.length) - 16));
    found.forEach((panel, index) => {
      surfaces[index] ??= surface(panels, panel.title, wide, 190);
      const last = panel.curves.map(({ name, points }) => `${name} ${points.at(-1)[1].toPrecision(2)}`).join(", ");
      surfaces[index].say(`Curves: ${panel.title}, now ${last}`);
      surfaces[index].resize(wide, 190);
      drawPanel(surfaces[index], panel, theme());
    });
    words.textContent = lastLine;
    if (stopping || ended) {
      clearTimeout(timer);
      said.textContent = ended ?? "Stopping after this step; the checkpoint keeps what was learned.";
      stop.disabled = true;
    }
    Object.assign(root.snn, { draws: root.snn.draws + 1, panels: found });
  }

  return { redraw: draw, restored: () => {}, listen: { "change:status": draw }, stop: () => clearTimeout(timer) };
}

const render = widget("Training monitor", "What was told so far stays.", build);
export default { render };
