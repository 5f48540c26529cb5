// What stands around the steps: where somebody looks, the text, the unit over time.

const INSIDE = ["in", "forget", "write", "update", "reveal"]; // steps that look at one unit
const NARROW = matchMedia("(max-width: 40rem)");

const gate = (v) => mix(hue("none"), hue("gate"), v);
const signed = (v, scale) => signedHue(v / scale);
const surprise = (share) => mix(hue("none"), hue("surprise"), share);

const token = (piece) => h("bdi", { class: "token" }, shown(piece));

class Page {
  constructor(facts, text) {
    this.facts = facts;
    this.text = text;
    this.at = { t: 0, step: 0, unit: 0, layer: 0 };
    this.places = Object.fromEntries(
      ["steps", "story", "strip", "legend", "timeline", "token", "unit", "layer", "status", "cell-lines"]
        .map((id) => [id, document.getElementById(id)]));
  }

  get units() {
    return Math.max(...this.facts.states.map((s) => this.facts.widths[this.at.layer][s.leaf]));
  }

  /** The cell's values at one token of one layer. */
  view(layer = this.at.layer, t = this.at.t) {
    const { nodes, lines } = this.facts;
    return {
      nodes, lines, widths: this.facts.widths[layer],
      value: (k) => this.text.value(layer, k, t),
      weights: (k) => this.text.weights(layer, k),
    };
  }

  /** Look elsewhere; the address follows, so that it can be sent to somebody. */
  go(change, { push = true } = {}) {
    const { pieces } = this.text, last = this.facts.steps.length - 1;
    const next = { ...this.at, ...change };
    const within = (v, top) => Math.min(Math.max(0, Math.trunc(Number(v)) || 0), top);
    next.t = within(next.t, pieces.length - 1);
    next.step = within(next.step, last);
    next.layer = within(next.layer, this.facts.widths.length - 1);
    this.at = next;
    next.unit = within(next.unit, this.units - 1);
    const layer = this.facts.widths.length > 1 ? `&layer=${next.layer}` : "";
    const typed = this.typed === undefined ? "" : `&text=${encodeURIComponent(this.typed)}`;
    const hash = `#t=${next.t}&step=${next.step}&unit=${next.unit}${layer}${typed}`;
    if (push && hash !== location.hash) history.replaceState(null, "", hash);
    this.show();
  }

  follow() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const number = (name) => Number(wanted.get(name) || 0);
    const typed = wanted.get("text");
    if (typed !== null && typed !== this.typed) this.unread = !this.retype?.(typed);
    this.go({ t: number("t"), step: number("step"), unit: number("unit"), layer: number("layer") }, { push: false });
  }

  show() {
    const { at, facts, places, text } = this, step = facts.steps[at.step];
    for (const link of places.steps.querySelectorAll("a")) {
      const here = Number(link.dataset.step) === at.step;
      if (here) {
        link.setAttribute("aria-current", "step");
        places.steps.scrollLeft = link.offsetLeft - places.steps.offsetLeft - 40;
      }
      else link.removeAttribute("aria-current");
      link.href = location.hash.replace(/step=\d+/, `step=${link.dataset.step}`) || `#step=${link.dataset.step}`;
    }
    places.token.replaceChildren(`${at.t} `, token(text.pieces[at.t]));
    places.unit.max = this.units - 1;
    places.unit.value = at.unit;
    if (places.layer) places.layer.value = at.layer;
    places.status.textContent = `Step ${at.step}, ${step.title}. Token ${at.t}, ${shown(text.pieces[at.t])}. Unit ${at.unit}.`;
    this.showStory(step);
    this.showStrip();
    this.showTimeline();
    for (const line of places["cell-lines"].querySelectorAll("[data-node]")) {
      line.classList.toggle("lit", (step.lit || []).includes(Number(line.dataset.node)));
    }
    for (const part of document.querySelectorAll("#cell svg [data-node]")) {
      const names = (step.lit || []).map((k) => facts.nodes[k].name);
      part.classList.toggle("lit", names.includes(part.dataset.node));
    }
  }

  showStory(step) {
    const { at, facts, places } = this, last = facts.steps.length - 1;
    const open = places.story.querySelector("details[open]") !== null;
    const focus = document.activeElement?.id;
    const turn = (by, label, id) => h("button", {
      type: "button", id, onclick: () => this.go({ step: at.step + by }),
      "aria-disabled": at.step + by < 0 || at.step + by > last ? "true" : null,
    }, label);
    const other = (by) => facts.steps[at.step + by]?.title;
    places.story.replaceChildren(
      h("div", { class: "turn" },
        turn(-1, `◂ ${other(-1) || "Start"}`, "before"), turn(1, `${other(1) || "End"} ▸`, "after")),
      h("h2", { id: "story-title" }, h("span", { class: "step-number" }, `${at.step} `), step.title),
      ...STEPS[step.key](this, step).filter(Boolean));
    if (open) for (const more of places.story.querySelectorAll("details")) more.open = true;
    if (focus && places.story.querySelector(`#${focus}`)) document.getElementById(focus).focus();
  }

  /** How each token of the text is coloured in this step, what it says, and a legend. */
  colours() {
    const { at, facts, text } = this;
    if (facts.steps[at.step].key === "back") {
      const { first, effects } = text.lookBack(at.t, this.target());
      const scale = Math.max(...effects.map(Math.abs), 1e-9);
      const of = (k) => (k >= first && k <= at.t ? effects[k - first] : null);
      return {
        paint: (k) => (of(k) === null ? "" : painted(signed(of(k), scale))),
        said: (k) => (of(k) === null ? "not asked" : `effect ${brief(of(k), 3)} nats`),
        legend: `Orange: it helps the prediction; blue: it stands in its way; ${brief(scale, 2)} nats at the most.`,
      };
    }
    if (INSIDE.includes(facts.steps[at.step].key)) return this.held();
    const most = Math.max(...text.pieces.map((_, k) => text.bits(k) ?? 0), 1);
    const more = `The more amber, the more surprised the model was: ${brief(most, 1)} bits at the most, 0 where it was sure.`;
    return {
      paint: (k) => (text.bits(k) === null ? "" : painted(surprise(text.bits(k) / most))),
      said: (k) => (text.bits(k) === null ? "the first: not predicted" : `surprise ${brief(text.bits(k))} bits`),
      legend: text.pieces.length > 1 ? more : "The first token is read, not predicted.",
    };
  }

  /** The colours of the steps inside the cell: what the unit holds after each token. */
  held() {
    const { at, facts, text } = this, widths = facts.widths[at.layer];
    const { name, next } = [...facts.updates, ...facts.states].find(({ leaf }) => at.unit < widths[leaf]);
    const bounded = facts.traced.some(({ node, kind }) => node === next && kind !== "free");
    const scale = bounded ? 1 : this.scale(next), value = (k) => text.value(at.layer, next, k)[at.unit];
    return {
      paint: (k) => painted(signed(value(k), scale)),
      said: (k) => `${name} of unit ${at.unit} ${brief(value(k))}`,
      legend: `${name} of unit ${at.unit} after each token: orange above 0, blue below, full at ±${brief(scale)}.`,
    };
  }

  /** The token whose prediction is looked at: the one that came, or at the end the likeliest. */
  target(t = this.at.t) {
    return t + 1 < this.text.ids.length ? this.text.ids[t + 1] : this.text.best(t)[0].id;
  }

  name(id) {
    const named = this.facts.names[id];
    return named === "<eos>" ? "\n" : named;
  }

  showStrip() {
    const { at, places, text } = this, { paint, said, legend } = this.colours();
    const parts = text.pieces.flatMap((piece, k) => {
      const made = h("span", {
        role: "option", id: `token-${k}`, "aria-selected": String(k === at.t), style: paint(k),
        "aria-label": `${k}, ${shown(piece)}: ${said(k)}`, title: `${k}: ${said(k)}`,
        onclick: () => this.go({ t: k }),
      }, piece === "\n" ? "⏎" : piece);
      return [made, piece === "\n" ? h("br", { "aria-hidden": "true" }) : this.facts.exact ? null : " "];
    });
    places.strip.replaceChildren(...parts.filter(Boolean));
    places.strip.setAttribute("aria-activedescendant", `token-${at.t}`);
    const here = document.getElementById(`token-${at.t}`), line = here.offsetHeight || 1;
    places.strip.scrollTop = here.offsetTop - line; // a line of what came before stays in sight
    places.legend.textContent = legend;
  }

  /** The named values of one unit, some tokens to either side: a table, and its colours. */
  showTimeline() {
    const { at, facts, places, text } = this;
    const reach = NARROW.matches ? 2 : 6;
    const size = Math.min(2 * reach + 1, text.pieces.length);
    const first = Math.min(Math.max(0, at.t - reach), text.pieces.length - size);
    const steps = Array.from({ length: size }, (_, k) => first + k);
    const here = (k) => (k === at.t ? "here" : null);
    const scales = new Set();
    const row = ({ node, label, kind }) => {
      const pick = (t) => text.value(at.layer, node, t)[at.unit];
      const scale = kind === "free" ? this.scale(node) : 1;
      if (kind === "free") scales.add(`${label} ±${brief(scale)}`);
      const cell = (t) => h("td", { class: here(t), style: painted(kind === "gate" ? gate(pick(t)) : signed(pick(t), scale)) }, brief(pick(t)));
      return h("tr", {}, h("th", { scope: "row" }, label), steps.map(cell));
    };
    const rows = facts.traced.filter(({ node }) => at.unit < facts.widths[at.layer][node]).map(row);
    const which = size > 1 ? `tokens ${first} to ${first + size - 1}` : "token 0";
    const table = h("table", { class: "timeline", style: `max-width:${8 + 6 * size}rem` },
      h("caption", {}, `Unit ${at.unit}, ${which}. Teal: 0 to 1; blue to orange: negative to positive` +
        (scales.size ? `, full at the 99th percentile of this layer and text (${[...scales].join(", ")}).` : ".")),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "token"),
        steps.map((t) => h("th", { scope: "col", class: here(t), "aria-current": t === at.t ? "true" : null }, token(text.pieces[t]))))),
      h("tbody", {}, rows));
    places.timeline.replaceChildren(table);
  }

  scale(node) {
    const key = `${this.at.layer} ${node}`;
    this.scales ??= new Map();
    if (!this.scales.has(key)) {
      const sizes = this.text.pieces.flatMap((_, t) => [...this.text.value(this.at.layer, node, t)].map(Math.abs));
      sizes.sort((a, b) => a - b);
      this.scales.set(key, sizes[Math.ceil(0.99 * sizes.length) - 1] || 1);
    }
    return this.scales.get(key);
  }

  /** All numbers of a vector as small squares; a click looks at that unit. */
  vector(label, v, choose) {
    const columns = Math.min(v.length, 48), size = 10, most = Math.max(...v.map(Math.abs), 1e-9);
    const squares = [...v].map((x, k) => svg("rect", {
      x: (k % columns) * size, y: Math.floor(k / columns) * size, width: size - 1, height: size - 1,
      fill: `rgb(${signed(x, most).join(" ")})`, "data-unit": k,
      ...(choose && k === this.at.unit ? { class: "chosen" } : {}),
    }, svg("title", {}, `${k}: ${brief(x, 4)}`)));
    const own = choose && this.at.unit < v.length ? `, unit ${this.at.unit} is ${brief(v[this.at.unit], 4)}` : "";
    const picture = svg("svg", {
      viewBox: `0 0 ${columns * size} ${Math.ceil(v.length / columns) * size}`, role: "img", class: "vector",
      "aria-label": `${label}: ${v.length} numbers from ${brief(Math.min(...v))} to ${brief(Math.max(...v))}${own}`,
      style: `max-width:${columns * 0.75}rem`,
    }, squares);
    if (choose) {
      picture.classList.add("choose");
      picture.addEventListener("click", (event) => {
        const unit = event.target.closest("[data-unit]")?.dataset.unit;
        if (unit !== undefined) this.go({ unit: Number(unit) });
      });
    }
    return h("figure", {}, picture,
      h("figcaption", {}, `${label}: ${v.length} numbers, from ${brief(Math.min(...v))} (blue) to ${brief(Math.max(...v))} (orange), full at ±${brief(most)}${own}.`));
  }
}
