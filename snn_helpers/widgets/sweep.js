// The runs of a sweep: which are shown, in what order and in what words. Pure functions, as in `sweep_rows.py`.

export const STATUSES = ["failed", "timeout", "killed", "done", "missing"];

/** Whether a status is of the wanted kind; "not well" are all that ended otherwise than they should. */
export function matches(status, wanted) {
  if (wanted === "not well") return status !== "done" && status !== "missing";
  return status === wanted;
}

/** The rows that a state's filter and status let through, in its order; those without a value last, equals as planned. */
export function select(rows, columns, state) {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const found = rows.filter((row) => words.every((word) => row.find.includes(word))
    && (state.status === "all" || matches(row.cells[2], state.status)));
  const index = Math.max(0, columns.indexOf(state.sort));
  const byStatus = columns[index] === "status";
  const key = (row) => (byStatus ? STATUSES.indexOf(row.cells[index]) : row.cells[index]);
  const turn = state.descending ? -1 : 1;
  const compare = (one, other) => {
    const [a, b] = [key(one), key(other)];
    if (typeof a !== typeof b) return typeof a === "number" ? -turn : turn;
    return a < b ? -turn : a > b ? turn : 0;
  };
  const filled = (row) => row.cells[index] !== null;
  return [...found.filter(filled).sort(compare), ...found.filter((row) => !filled(row))];
}

/** What a click on a column's head makes of the order: up, then down. */
export function nextOrder(state, column) {
  return state.sort === column ? { sort: column, descending: !state.descending } : { sort: column, descending: false };
}

/** A cell in words: four digits, no needless zeros; whole numbers in full. */
export function shown(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return value;
  if (Number.isInteger(value)) return String(value);
  if (Math.abs(value) >= 1000) return value.toFixed(0);
  const rounded = Number(value.toPrecision(4));
  if (Math.abs(rounded) >= 1e-4) return String(rounded);
  const [digits, power] = rounded.toExponential(3).split("e");
  return `${Number(digits)}e${Number(power)}`;
}

const grouped = (number) => number.toLocaleString("en-US");

/** How many runs have ended, and how. */
export function countsLine({ counts, total }) {
  const left = counts.missing ?? 0;
  const ended = STATUSES.filter((name) => name !== "missing" && counts[name]).map((name) => `${grouped(counts[name])} ${name}`);
  return `${grouped(total - left)} of ${grouped(total)} runs have ended${ended.length ? `: ${ended.join(", ")}` : ""}`
    + (left ? `; ${grouped(left)} missing` : "");
}

/** How many of the rows are seen. */
export function seenLine(seen, found, held) {
  if (!held) return "";
  if (!found) return "No run matches the filter.";
  return `${grouped(seen)} of ${grouped(found)} shown${found < held ? `, ${grouped(held - found)} filtered out` : ""}`;
}

/** Path of a run's executed notebook as JupyterLab names it, or null where it is not below the server's root. */
export function pathOf(row, { base }) {
  if (!row.output || base === null || base === undefined) return null;
  return base && base !== "." ? `${base}/${row.output}` : row.output;
}
