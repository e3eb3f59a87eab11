// Points in a plane: where they are at a moment, what colour they have, which lie in a lasso. Pure functions.
import { className } from "./common.js";

/** Ten colours that stay apart for colour-blind people together with the numbers that are drawn (Okabe and Ito, and two). */
const CLASS_COLOURS = [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233],
  [120, 94, 240], [160, 160, 60], [150, 75, 0], [128, 128, 128]];

/** The colour of a class: beyond the tenth, hues that a golden angle keeps apart, however many there are. */
export function classColour(label) {
  if (label < CLASS_COLOURS.length) return CLASS_COLOURS[label];
  const hue = (label * 137.508) % 360;
  const lightness = label % 2 ? 0.4 : 0.62;
  const channel = (shift) => {
    const place = (shift + hue / 30) % 12;
    const amount = lightness - 0.6 * Math.min(lightness, 1 - lightness) * Math.max(-1, Math.min(place - 3, 9 - place, 1));
    return Math.round(255 * amount);
  };
  return [channel(0), channel(8), channel(4)];
}

/** Positions [2 N] at a time between frames: linear between the two next to it. */
export function positionsAt(points, samples, time) {
  const before = Math.floor(time);
  const frames = points.length / (2 * samples);
  const after = Math.min(before + 1, frames - 1);
  const share = time - before;
  const [from, to] = [before, after].map((frame) => points.subarray(2 * samples * frame, 2 * samples * (frame + 1)));
  return Float32Array.from(from, (value, index) => value + share * (to[index] - value));
}

/** A function from the points' own units to pixels that keeps the aspect and fits all frames. */
export function fitter(points, width, height, margin = 14) {
  const low = [Infinity, Infinity];
  const high = [-Infinity, -Infinity];
  points.forEach((value, index) => {
    low[index % 2] = Math.min(low[index % 2], value);
    high[index % 2] = Math.max(high[index % 2], value);
  });
  const spans = [high[0] - low[0] || 1, high[1] - low[1] || 1];
  const scale = Math.min((width - 2 * margin) / spans[0], (height - 2 * margin) / spans[1]);
  return (x, y) => [width / 2 + (x - (low[0] + high[0]) / 2) * scale, height / 2 - (y - (low[1] + high[1]) / 2) * scale];
}

/** Whether a point lies in a polygon [[x, y], ...], by counting crossings. */
export function inside(polygon, x, y) {
  let within = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i, i += 1) {
    const [[xi, yi], [xj, yj]] = [polygon[i], polygon[j]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) within = !within;
  }
  return within;
}

/** The point nearest to a place within `reach`, or -1. */
export function nearestPoint(pixels, x, y, reach) {
  let [best, closest] = [-1, reach * reach];
  for (let index = 0; index < pixels.length; index += 2) {
    const distance = (pixels[index] - x) ** 2 + (pixels[index + 1] - y) ** 2;
    if (distance <= closest) [best, closest] = [index / 2, distance];
  }
  return best;
}

const luminance = (rgb) => rgb.map((value) => value / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);

/** Contrast of two colours as WCAG 2 counts it, 1 to 21. */
export function contrast(one, other) {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

/** The colour, moved toward black or white until small words in it can be read on the theme's paper. */
export function legible(rgb, { dark, paper }, least = 4.5) {
  let found = rgb;
  for (let share = 0; contrast(found, paper) < least && share < 1; share += 0.05) {
    found = rgb.map((value) => Math.round(value + share * ((dark ? 255 : 0) - value)));
  }
  return found;
}

/** What a point is drawn as: {sign, rgb}, for one of label, prediction, error, confidence. */
export function signOf(facts, index, by, colours) {
  const label = facts.labels ? facts.labels[index] : null;
  const said = facts.predictions ? facts.predictions[index] : null;
  if (by === "error") {
    const wrong = said !== label;
    return { sign: wrong ? `${said}` : "•", rgb: wrong ? colours.off : colours.on };
  }
  if (by === "confidence") {
    const share = facts.confidence[index];
    const from = colours.dark ? [110, 110, 120] : [150, 150, 155];
    return { sign: `${said ?? label ?? "•"}`, rgb: from.map((value, c) => value + share * (colours.on[c] - value)) };
  }
  const shown = by === "prediction" ? said : label;
  return shown === null ? { sign: "•", rgb: colours.on } : { sign: `${shown}`, rgb: legible(classColour(shown), colours) };
}

/** What one knows of a point, in words. */
export function describe(facts, index) {
  const parts = [`recording ${index}`];
  if (facts.labels) parts.push(className(facts.classes, facts.labels[index]));
  if (facts.predictions) parts.push(`taken for ${className(facts.classes, facts.predictions[index])}`);
  if (facts.confidence) parts.push(`confidence ${facts.confidence[index].toFixed(2)}`);
  return parts.join(", ");
}

/** What one knows of a set of points, in words. */
export function describeMany(facts, chosen) {
  if (!chosen.length) return "";
  const right = facts.labels && facts.predictions
    ? `, ${chosen.filter((index) => facts.labels[index] === facts.predictions[index]).length} of them right` : "";
  const counts = new Map();
  for (const index of chosen) if (facts.labels) counts.set(facts.labels[index], (counts.get(facts.labels[index]) ?? 0) + 1);
  const classes = [...counts].sort((a, b) => b[1] - a[1]).map(([label, count]) => `${count} × ${facts.classes[label]}`).join(", ");
  return `${chosen.length} chosen${right}${classes ? `: ${classes}` : ""}`;
}
