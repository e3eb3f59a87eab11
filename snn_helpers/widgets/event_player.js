// A recording as it happened. Events came once, as bytes; time and drawing are the browser's.
import { Clock, announcer, button, checkbox, clamp, lay, layer, make, menu, relabel, slider, surface, theme, widget } from "./common.js";
import { binAround, countsBetween, decode, drawCursor, drawField, drawSide, fieldPicture, fieldSize, sideScale } from "./recording.js";

const FIELD_SIDE = 238; // CSS pixels of the longer side
const MODES = [["bin", "one bin"], ["decay", "fading"], ["accumulate", "all so far"]];

/** The numbers of the moment in words; counts are true even where the drawing is thinned. */
export function factsLine(recording, timeMs, binMs, mode) {
  const [start, stop] = binAround(timeMs, binMs);
  const whole = Math.floor(timeMs);
  const now = mode === "bin" ? countsBetween(recording, start, stop) : countsBetween(recording, 0, whole);
  const span = mode === "bin" ? `bin ${start} to ${stop} ms` : `before ${whole} ms`;
  const lost = recording.lost[String(binMs)];
  const share = ((100 * lost) / recording.total).toFixed(1);
  return `${timeMs.toFixed(1)} ms · ${span}: ${now.on + now.off} of ${recording.total} events (${now.on} ON, ${now.off} OFF)`
    + ` · frames of ${binMs} ms clipped to 0 and 1 lose ${lost} events (${share}\u00a0%)`;
}

/** What is drawn of a recording, where it is not every event and every pixel. */
export function detailLine(recording, pool) {
  const pixels = pool > 1 ? `One square of the picture is ${pool} \u00d7 ${pool} pixels of the sensor.` : "";
  return [recording.note, pixels].filter(Boolean).join(" ");
}

function buildControls(root, recording, store, clock, redraw) {
  const bar = make(root, "div", { class: "bar" });
  const controls = {};
  controls.toggle = () => {
    if (clock.playing) clock.stop();
    else {
      if (store.get("time_ms") >= recording.end_ms) store.set("time_ms", 0);
      clock.start();
    }
    controls.label();
    redraw();
  };
  controls.play = button(bar, "Play", "Play", () => controls.toggle());
  controls.label = () => {
    const action = clock.playing ? "Pause" : "Play";
    relabel(controls.play, action, `${action} the recording`);
  };
  controls.label();
  controls.time = slider(bar, "Time", { min: 0, max: recording.end_ms, step: 0.1, value: store.get("time_ms"), width: 260,
    show: (ms) => `${Number(ms).toFixed(1)} ms` }, (ms) => {
    store.set("time_ms", ms);
    redraw();
  });
  const second = make(root, "div", { class: "bar" });
  const changed = (name) => (value) => {
    store.set(name, value);
    redraw();
  };
  const fraction = (speed) => (speed === 1 ? "real time" : `1/${Math.round(1 / speed)}`);
  controls.speed = menu(second, "Speed", recording.speeds.map((s) => [s, fraction(s)]), store.get("speed"), changed("speed"));
  controls.mode = menu(second, "Show", MODES, store.get("mode"), changed("mode"));
  const widths = recording.bin_widths_ms.map((ms) => [ms, `${ms} ms`]);
  controls.bin = menu(second, "Bin width", widths, store.get("bin_ms"), changed("bin_ms"));
  controls.loop = checkbox(second, "again and again", store.get("loop"), changed("loop"));
  controls.restore = () => {
    controls.time.set(store.get("time_ms"));
    for (const [name, key] of [["speed", "speed"], ["mode", "mode"], ["bin", "bin_ms"], ["loop", "loop"]]) {
      controls[name].set(store.get(key));
    }
  };
  return controls;
}

/** Space plays and pauses; arrows step by a bin, Home and End go to the ends. */
export function keyStep(key, timeMs, binMs, endMs) {
  const [start, stop] = binAround(timeMs, binMs);
  const steps = { ArrowRight: stop, ArrowLeft: start < timeMs ? start : start - binMs, Home: 0, End: endMs };
  return key in steps ? clamp(steps[key], 0, endMs) : null;
}

function build({ model, root, store }) {
  const recording = decode(model.get("facts"), model.get("buffers"));
  const clock = new Clock((passed) => {
    let time = store.get("time_ms") + passed * store.get("speed");
    if (time >= recording.end_ms) {
      time = store.get("loop") ? 0 : recording.end_ms;
      if (!store.get("loop")) clock.stop();
      controls.label();
    }
    store.set("time_ms", time);
    draw();
  });
  const controls = buildControls(root, recording, store, clock, () => draw());
  const panels = make(root, "div", { class: "panels" });
  const field = surface(panels, "The camera's pixels at this moment", ...fieldSize(recording, FIELD_SIDE));
  const side = surface(panels, "All events: x against time, and the event rate; click to go to a time", 500, 300);
  side.node.tabIndex = 0;
  const words = make(root, "div", { class: "facts" });
  make(root, "div", { class: "keys" }, "Keys: space plays and pauses, arrows go one bin on or back, Home and End to the ends.");
  const note = make(root, "div", { class: "keys" });
  side.say(`All ${recording.total} events: x against time, and the event rate; click to go to a time`);
  const announce = announcer(root);
  let [still, picture] = [null, null];

  function fit() {
    const wide = root.clientWidth ? root.clientWidth - 18 : 760;
    side.resize(Math.max(250, wide > 560 ? wide - 250 : wide), 300);
    still = layer(side);
    root.snn.dots = drawSide(still, recording, theme());
    // The picture is as fine as the screen, not as the sensor.
    if (!picture) picture = fieldPicture(recording, field.node);
    root.snn.work = picture.work;
    note.textContent = detailLine(recording, picture.pool);
  }

  function draw() {
    const [time, bin, mode] = ["time_ms", "bin_ms", "mode"].map((name) => store.get(name));
    const colours = theme();
    drawField(field, picture, recording, time, bin, mode, colours);
    lay(side, still);
    drawCursor(side, recording, time, bin, mode, colours);
    controls.time.set(time);
    words.textContent = factsLine(recording, time, bin, mode);
    announce(words.textContent);
    if (!clock.playing) field.say(`The camera's pixels at ${words.textContent.split(" · ").slice(0, 2).join(", ")}`);
    root.snn.draws += 1;
  }

  const scrub = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    store.set("time_ms", sideScale(side, recording).toMs(event.offsetX));
    draw();
  };
  side.node.addEventListener("pointerdown", scrub);
  side.node.addEventListener("pointermove", scrub);
  root.addEventListener("keydown", (event) => {
    const typing = ["SELECT"].includes(event.target.tagName);
    const onButton = event.target.tagName === "BUTTON" || event.target.type === "checkbox";
    if (event.key === " " && !onButton && !typing) controls.toggle();
    else if (!typing && keyStep(event.key, store.get("time_ms"), store.get("bin_ms"), recording.end_ms) !== null) {
      store.set("time_ms", keyStep(event.key, store.get("time_ms"), store.get("bin_ms"), recording.end_ms));
      draw();
    } else return;
    event.preventDefault();
  });

  Object.assign(root.snn, { clock, recording, field, side });
  return { redraw: () => { fit(); draw(); }, restored: () => { controls.restore(); draw(); }, stop: () => clock.stop() };
}

const render = widget("Event player", "Playing goes on in the browser.", build);
export default { render };
