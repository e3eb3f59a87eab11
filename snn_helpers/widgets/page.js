// Widgets in a page without a kernel: each asks a model that is made of what the page itself holds.

/** Read JSON in which bytes are objects {base64}. */
export function readTraits(text) {
  return JSON.parse(text, (_, value) => {
    if (typeof value?.base64 !== "string") return value;
    return new DataView(Uint8Array.from(atob(value.base64), (sign) => sign.charCodeAt(0)).buffer);
  });
}

/** The text of a page's script; the book packs it, as gzip in base64. */
async function textOf(script) {
  if (script.dataset.packed === undefined) return script.textContent;
  const bytes = Uint8Array.from(atob(script.textContent), (sign) => sign.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

/** What a widget sees of Python, from the page's traits; `say` shows what only a kernel could answer. */
export class PageModel {
  constructor({ traits, answers, asks }, say) {
    Object.assign(this, { values: { ...traits }, answers, asks, say, listeners: new Map() });
    // What the page began with answers the way back to it.
    const { state, ...others } = traits;
    for (const field of Object.keys(answers)) answers[field][String(state[field])] ??= others;
  }

  get(name) {
    return this.values[name];
  }

  set(name, value) {
    const before = this.values[name];
    this.values[name] = value;
    this.emit(name);
    if (name === "state") this.answer(before, value);
  }

  on(event, callback) {
    this.listeners.set(event, [...(this.listeners.get(event) ?? []), callback]);
  }

  off(event, callback) {
    this.listeners.set(event, (this.listeners.get(event) ?? []).filter((one) => one !== callback));
  }

  save_changes() {}

  send() {}

  emit(name) {
    for (const callback of this.listeners.get(`change:${name}`) ?? []) callback();
  }

  /** Answer changes of the state as the kernel would, where the page holds the answer; else say that it does not. */
  answer(before, after) {
    for (const [field, sentence] of Object.entries(this.asks)) {
      if (JSON.stringify(before[field]) === JSON.stringify(after[field])) continue;
      const traits = this.answers[field]?.[String(after[field])];
      this.say(traits ? "" : sentence);
      Object.assign(this.values, traits);
      for (const name of Object.keys(traits ?? {})) this.emit(name);
    }
  }
}

/** Start the page's widgets of one module, each in place of its picture; a picture stays where that fails. */
export function startWidgets(script, render) {
  for (const box of document.querySelectorAll(`[data-snn-widget="${script}"]:not([data-snn-started])`)) {
    box.dataset.snnStarted = "true";
    startWidget(box, render);
  }
}

async function startWidget(box, render) {
  const place = document.createElement("div");
  const note = document.createElement("p");
  note.setAttribute("role", "status");
  box.append(place, note);
  try {
    const page = readTraits(await textOf(box.querySelector("script[type='application/json']")));
    render({ model: new PageModel(page, (sentence) => { note.textContent = sentence; }), el: place });
    box.querySelector("img")?.remove();
  } catch (error) {
    place.remove();
    console.error(error);
  }
}
