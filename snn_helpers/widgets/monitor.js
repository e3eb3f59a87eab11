// What a training run has told so far, as panels of curves. Pure functions.

/** Panels [{title, curves: [{name, part, points: [[x, y], ...]}]}]; what is not finite came as null and is a gap. */
export function panelsOf(rows) {
  const column = (name) => rows.map((row, index) => [row.epoch === undefined ? index + 1 : row.epoch + 1, row[name]])
    .filter(([, value]) => typeof value === "number");
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const panels = [];
  for (const quantity of [...new Set(names.map((name) => /^(?:train|valid)_(.+)$/.exec(name)?.[1]).filter(Boolean))]) {
    const curves = ["train", "valid"].map((part) => ({ name: part, part, points: column(`${part}_${quantity}`) }));
    panels.push({ title: quantity, curves: curves.filter(({ points }) => points.length) });
  }
  const layers = names.filter((name) => name.startsWith("firing/"));
  const firing = layers.length ? layers.map((name) => ({ name: name.slice(7), part: "layer", points: column(name) }))
    : [{ name: "hidden layers", part: "layer", points: column("hidden_spike_fraction") }];
  const shown = firing.filter(({ points }) => points.length);
  if (shown.length) panels.push({ title: "share of neurons that fire in a step", curves: shown });
  return panels.filter(({ curves }) => curves.length);
}

/** The last row in one line. */
export function lastLine(rows, epochs) {
  if (!rows.length) return "No epoch has ended yet.";
  const row = rows.at(-1);
  const values = ["train_loss", "valid_loss", "train_accuracy", "valid_accuracy"].filter((name) => typeof row[name] === "number")
    .map((name) => `${name.replace("_", " ")} ${row[name].toFixed(3)}`);
  const epoch = (row.epoch ?? rows.length - 1) + 1;
  return [`epoch ${epoch}${epochs ? ` of ${epochs}` : ""}`, ...values].join(" · ");
}

/** Lowest and highest of all points, with a margin, so that a constant curve has room, too. */
export function limits(curves) {
  const values = curves.flatMap(({ points }) => points.map(([, value]) => value));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}
