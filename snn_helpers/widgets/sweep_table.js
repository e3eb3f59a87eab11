// The runs of a sweep: a table to filter, sort and open, up to date while the sweep runs.
import { button, make, menu, theme, widget } from "./common.js";
import { STATUSES, countsLine, matches, nextOrder, pathOf, seenLine, select, shown } from "./sweep.js";

const PAGE = 200;
const TABLE_STYLE = `
.snn .runs { overflow: auto; max-height: 400px; margin: 6px 0; border: 1px solid var(--snn-rule); }
.snn .runs table, .snn .results { border-collapse: collapse; font-variant-numeric: tabular-nums; color: inherit; margin: 0; }
.snn .runs table { width: 100%; }
.snn .runs th, .snn .runs td, .snn .results th, .snn .results td { text-align: left; padding: 2px 8px; vertical-align: top;
  border: 0; font-weight: 400; max-width: 260px; overflow-wrap: break-word; background: transparent; color: inherit; }
.snn .runs thead th { font-weight: 600; vertical-align: bottom; position: sticky; top: 0; background: var(--snn-paper); box-shadow: inset 0 -1px var(--snn-rule); z-index: 1; }
.snn .runs td.number, .snn .runs tbody button { white-space: nowrap; }
.snn .runs button { border: 0; padding: 0; min-height: 0; text-align: left; }
.snn .runs thead button { font-weight: 600; white-space: pre-line; min-height: 24px; }
.snn .runs tbody button { text-decoration: underline; font-family: var(--jp-code-font-family, monospace); font-size: 12px; }
.snn .runs tbody tr { background: transparent; cursor: pointer; }
.snn .runs tbody tr:hover { background: var(--snn-hover); }
.snn .runs tbody tr.chosen { background: var(--snn-chosen); }
.snn .bad { color: var(--snn-bad); }
.snn .runs tr.bad td.status { font-weight: 600; }
.snn input[type=search] { font: inherit; color: inherit; background: transparent; border: 1px solid var(--snn-grey);
  border-radius: 3px; padding: 2px 6px; min-height: 26px; width: 220px; }
.snn input[type=search]::placeholder { color: var(--snn-grey); opacity: 1; }
.snn .run { border-top: 1px solid var(--snn-rule); margin-top: 6px; padding-top: 6px; }
.snn .run:empty { display: none; }
.snn .run p { margin: 3px 0; overflow-wrap: anywhere; }
.snn .run .groups { column-width: 250px; column-gap: 16px; }
.snn .results th { color: var(--snn-grey); }
.snn .results tr { background: transparent; break-inside: avoid; }
`;

function buildControls(root, store, draw) {
  const bar = make(root, "div", { class: "bar" });
  const label = make(bar, "label", {}, "Filter");
  const search = make(label, "input", { type: "search", "aria-label": "Filter runs by words, such as seed=1", placeholder: "words, such as seed=1" });
  search.addEventListener("input", () => {
    store.set("filter", search.value.slice(0, 200));
    draw();
  });
  const options = [["all", "all"], ["not well", "not ended well"], ...STATUSES.map((name) => [name, name])];
  const status = menu(bar, "Status", options, store.get("status"), (wanted) => {
    store.set("status", wanted);
    draw();
  });
  const seen = make(bar, "span", { class: "facts", role: "status", "aria-live": "polite" });
  const restore = () => {
    search.value = store.get("filter");
    status.set(store.get("status"));
  };
  restore();
  return { seen, restore };
}

/** The head: one button a column, made anew only where the columns have changed. */
function buildHead(row, sort) {
  let made = "";
  return (columns, state) => {
    if (made !== columns.join("\n")) {
      row.replaceChildren();
      made = columns.join("\n");
      for (const column of columns) {
        const head = make(row, "th", { scope: "col" });
        button(head, "", `Sort by ${column}`, () => sort(column)).dataset.column = column;
      }
      make(row, "th", { scope: "col" }, "notebook");
    }
    const sorted = columns.includes(state.sort) ? state.sort : columns[0];
    columns.forEach((column, index) => {
      const direction = column === sorted ? (state.descending ? "descending" : "ascending") : "none";
      row.children[index].setAttribute("aria-sort", direction);
      const sign = { ascending: " ▲", descending: " ▼", none: "" }[direction];
      row.children[index].firstChild.textContent = column.replaceAll("_", "_\u200b") + sign;
    });
  };
}

function openButton(parent, path, words) {
  const node = make(parent, "button", { type: "button", "aria-label": `Open the executed notebook ${path}`, title: path }, words);
  // JupyterLab runs the command that a clicked element names.
  node.dataset.commandlinkerCommand = "docmanager:open";
  node.dataset.commandlinkerArgs = JSON.stringify({ path });
  return node;
}

/** One row; filled anew only where what it says has changed, so that focus and selection of text stay. */
function fillRow(node, row, columns, status, choose) {
  const told = JSON.stringify([row.cells, row.output, columns, status.base]);
  if (node.dataset.told === told) return;
  node.dataset.told = told;
  node.dataset.run = row.cells[1];
  node.classList.toggle("bad", matches(row.cells[2], "not well"));
  node.replaceChildren();
  row.cells.forEach((cell, index) => {
    if (columns[index] === "run") {
      const head = make(node, "th", { scope: "row" });
      button(head, cell, `Details of run ${cell}`, () => {}).tabIndex = -1;
      return;
    }
    make(node, "td", { class: index === 2 ? "status" : typeof cell === "number" ? "number" : "" }, shown(cell));
  });
  const last = make(node, "td");
  const path = pathOf(row, status);
  if (path) openButton(last, path, "open").tabIndex = -1;
  else if (row.output) last.textContent = "see details";
  node.onclick = (event) => {
    if (!event.target.closest("[data-commandlinker-command]")) choose(row.cells[1]);
  };
}

/** Make a body's rows those wanted, moving none that already stands in its place. */
function fillBody(body, rows, columns, status, state, choose) {
  const focused = body.contains(document.activeElement) ? document.activeElement.closest("tr").dataset.run : null;
  const present = new Map([...body.children].map((node) => [node.dataset.run, node]));
  rows.forEach((row, index) => {
    const node = present.get(row.cells[1]) ?? document.createElement("tr");
    fillRow(node, row, columns, status, choose);
    if (body.children[index] !== node) body.insertBefore(node, body.children[index] ?? null);
  });
  while (body.children.length > rows.length) body.lastChild.remove();
  const cursor = [...body.children].find((node) => node.dataset.run === (focused ?? state.selected)) ?? body.firstChild;
  for (const node of body.children) {
    const chosen = node.dataset.run === state.selected;
    node.classList.toggle("chosen", chosen);
    const head = node.querySelector("th button");
    head.setAttribute("aria-pressed", String(chosen));
    for (const each of node.querySelectorAll("button")) each.tabIndex = node === cursor ? 0 : -1;
    if (node.dataset.run === focused && !node.contains(document.activeElement)) head.focus({ preventScroll: true });
  }
}

function moveInBody(body, event) {
  const node = event.target.closest("tr");
  const goal = { ArrowDown: node?.nextSibling, ArrowUp: node?.previousSibling, Home: body.firstChild, End: body.lastChild }[event.key];
  if (!goal) return;
  event.preventDefault();
  for (const each of node.querySelectorAll("button")) each.tabIndex = -1;
  for (const each of goal.querySelectorAll("button")) each.tabIndex = 0;
  goal.querySelector("th button").focus();
}

/** All that is known of the chosen run. */
function fillRun(box, row, columns, status) {
  const told = row ? JSON.stringify([row, columns, status.base]) : "";
  if (box.dataset.told === told) return;
  box.dataset.told = told;
  box.replaceChildren();
  if (!row) return;
  const [, run, ended] = row.cells;
  const settings = columns.slice(3, columns.length - 1).map((name, index) => [name, row.cells[index + 3]])
    .filter(([name]) => !status.results.includes(name)).map(([name, value]) => `${name} = ${shown(value)}`);
  make(box, "p", {}, `Run ${run}: ${ended}${settings.length ? `, ${settings.join(", ")}` : ""}`);
  if (row.error) make(box, "p", { class: "bad" }, `Error: ${row.error}`);
  if (row.cell) make(box, "p", {}, `In cell ${row.cell}`);
  if (row.output) {
    const path = pathOf(row, status);
    const line = make(box, "p");
    if (path) openButton(line, path, "Open the executed notebook");
    else line.textContent = `Executed notebook: ${status.folder}/${row.output}`;
  } else make(box, "p", {}, ended === "missing" ? "It has not ended yet." : "It has left no notebook.");
  const found = status.results.map((name, index) => [name, row.results[index]]).filter(([, value]) => value !== null);
  if (!found.length) return;
  const table = make(make(box, "div", { class: "groups" }), "table", { class: "results", "aria-label": `Results of run ${run}` });
  for (const [name, value] of found) {
    const line = make(table, "tr");
    make(line, "th", { scope: "row" }, name);
    make(line, "td", {}, shown(value));
  }
}

function build({ model, root, store }) {
  make(root, "style", {}, TABLE_STYLE);
  const counts = make(root, "div", { class: "facts", role: "status", "aria-live": "polite" });
  const note = make(root, "p", { class: "keys" });
  const problem = make(root, "p", { class: "note", role: "status" });
  const all = make(root, "div");
  const controls = buildControls(all, store, () => draw());
  const frame = make(all, "div", { class: "runs", role: "region", "aria-label": "Runs, as a table", tabindex: "0" });
  const table = make(frame, "table", { "aria-label": "Runs of the sweep" });
  const fillHead = buildHead(make(make(table, "thead"), "tr"), (column) => {
    for (const [name, value] of Object.entries(nextOrder(store.values, column))) store.set(name, value);
    draw();
  });
  const body = make(table, "tbody");
  const more = button(all, "", "Show more runs", () => {
    limit += PAGE;
    draw();
  });
  const run = make(all, "div", { class: "run", role: "region", "aria-label": "The chosen run", "aria-live": "polite" });
  make(all, "div", { class: "keys" }, "Click a column's name to sort, a run for its error and results. "
    + "Keys in the table: up and down go from run to run, Enter chooses one.");
  let limit = PAGE;
  root.snn.found = [];

  function choose(wanted) {
    store.set("selected", store.get("selected") === wanted ? "" : wanted);
    draw();
  }

  function draw() {
    const { dark, shade } = theme();
    root.style.setProperty("--snn-bad", dark ? "#ff8a80" : "#b00020");
    root.style.setProperty("--snn-hover", shade);
    root.style.setProperty("--snn-chosen", dark ? "rgba(86,180,233,0.28)" : "rgba(0,114,178,0.16)");
    const [status, rows] = [model.get("status"), model.get("rows")];
    counts.textContent = status.sentence || `${countsLine(status)}${status.live ? " · live" : ""}`;
    note.textContent = status.note;
    problem.textContent = status.problem;
    all.hidden = Boolean(status.sentence) || !status.columns.length;
    const found = all.hidden ? [] : select(rows, status.columns, store.values);
    const seen = found.slice(0, limit);
    fillHead(status.columns, store.values);
    fillBody(body, seen, status.columns, status, store.values, choose);
    controls.seen.textContent = seenLine(seen.length, found.length, rows.length);
    more.hidden = found.length <= limit;
    more.textContent = `Show ${Math.min(PAGE, found.length - limit)} more`;
    fillRun(run, rows.find((row) => row.cells[1] === store.get("selected")), status.columns, status);
    Object.assign(root.snn, { draws: root.snn.draws + 1, found: found.map((row) => row.cells[1]) });
  }

  body.addEventListener("keydown", (event) => moveInBody(body, event));
  const restored = () => {
    controls.restore();
    draw();
  };
  return { redraw: draw, restored, listen: { "change:rows": draw, "change:status": draw } };
}

const render = widget("Runs of a sweep", "The table stays as it was last told.", build);
export default { render };
