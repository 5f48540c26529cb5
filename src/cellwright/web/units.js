// A text coloured by any unit, and a search for where else the units of a stretch are on.

const AROUND = 24; // characters of context beside a match

const place = (id) => document.getElementById(id);

const signed = (v) => (brief(v).startsWith("−") ? brief(v) : `+${brief(v)}`);
const minus = (text) => text.replace(/(^|\s)-(?=\d)/g, "$1−");
const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

/**
 * Where the units that are on throughout tokens `first` to `end` are on elsewhere: the search of
 * inspect/units/pattern.py. rows: how many levels each value is beyond, above its unit's mean or (negative) below it.
 */
function search(rows, first, end, { levels, enough, most }) {
  const size = rows[0].length, length = end - first, starts = size - length + 1;
  const isOn = (up, level) => {
    const least = levels.length - levels.indexOf(level); // the highest level comes first
    return up ? (v) => v >= least : (v) => v <= -least;
  };
  const throughout = (level) => rows.flatMap((row, k) =>
    [true, false].filter((up) => row.subarray(first, end).every(isOn(up, level))).map((up) => ({ k, up })));
  const tried = levels.map((level) => ({ level, chosen: throughout(level) }));
  const { level, chosen } = tried.find((t) => t.chosen.length >= enough) ?? tried.find((t) => t.chosen.length) ?? tried.at(-1);
  if (!chosen.length) return null;
  const together = new Int32Array(starts), anywhere = new Int32Array(starts), wanted = new Map(chosen.map((c) => [`${c.k} ${c.up}`, c]));
  for (let k = 0; k < rows.length; k++) {
    for (const up of [true, false]) {
      const on = isOn(up, level), own = wanted.get(`${k} ${up}`);
      let run = 0, held = 0;
      for (let t = 0; t < size; t++) {
        run = on(rows[k][t]) ? run + 1 : 0;
        if (run < length) continue;
        anywhere[t - length + 1]++;
        if (own) together[t - length + 1]++;
        held++;
      }
      if (own) own.share = held / starts;
    }
  }
  const units = chosen.length, need = Math.max(1, Math.ceil(units / 2));
  const jaccard = (t) => together[t] / (units + anywhere[t] - together[t]);
  const elsewhere = (t) => t < first - length + 1 || t >= end;
  const spans = [], found = new Array(units + 1).fill(0);
  let stretches = 0;
  for (let t = 0; t < starts; t++) {
    if (!elsewhere(t)) continue;
    stretches++;
    for (let k = 0; k <= together[t]; k++) found[k]++;
    if (together[t] < need) continue;
    const last = spans[spans.length - 1];
    const better = (a, b) => together[a] - together[b] || jaccard(a) - jaccard(b);
    if (last && t - last.start <= length) {
      last.start = t;
      last.end = t + length;
      if (better(t, last.best) > 0) last.best = t;
    } else spans.push({ first: t, start: t, end: t + length, best: t });
  }
  for (const span of spans) {
    span.on = together[span.best];
    span.jaccard = jaccard(span.best);
  }
  spans.sort((a, b) => b.on - a.on || b.jaccard - a.jaccard || (b.end - b.first) - (a.end - a.first) || a.first - b.first);
  return { first, end, above: level, units: chosen, stretches, need, found, luck: atLeast(chosen).map((p) => p * stretches), spans: spans.length, matches: spans.slice(0, most) };
}

/** The chances that 0, 1, 2, ... or more of independent events of these shares happen. */
function atLeast(events) {
  let exactly = [1];
  for (const { share } of events) {
    exactly = Array.from({ length: exactly.length + 1 }, (_, k) => (exactly[k] ?? 0) * (1 - share) + (k ? exactly[k - 1] * share : 0));
  }
  let total = 0;
  return exactly.reverse().map((chance) => (total += chance)).reverse();
}

class Units {
  constructor(facts, values, beyond) {
    this.facts = facts;
    this.size = facts.pieces.length;
    this.values = values;
    this.beyond = beyond;
    const { layer, state, unit } = facts.shown;
    this.at = { block: this.blockOf(layer, state), unit, t: 0, anchor: 0, stretch: null };
  }

  blockOf(layer, state) {
    return this.facts.blocks.findIndex((b) => b.layer === layer && b.state === state);
  }

  row(column, of = this.values) {
    return of.subarray(column * this.size, (column + 1) * this.size);
  }

  get column() {
    return this.facts.blocks[this.at.block].first + this.at.unit;
  }

  value(t, column = this.column) {
    return (this.row(column)[t] / this.facts.steps) * this.facts.scales[column];
  }

  name({ block, unit } = this.at) {
    const { layer, state } = this.facts.blocks[block];
    return `${layer}:${unit} ${state}`;
  }

  /** The 99th percentile of the unit's sizes: full colour. */
  scale() {
    const sizes = [...this.row(this.column)].map(Math.abs).sort((a, b) => a - b);
    const full = sizes[Math.ceil(0.99 * sizes.length) - 1] || sizes[sizes.length - 1] || 1;
    return (full / this.facts.steps) * this.facts.scales[this.column];
  }

  begin() {
    const { blocks, pieces, exact } = this.facts;
    place("block").append(...blocks.map((b, k) => h("option", { value: k }, `layer ${b.layer}, ${b.state}`)));
    this.spans = pieces.map((piece, k) => h("span", { role: "option", id: `token-${k}`, "data-t": k }, piece === "\n" ? "⏎" : piece));
    place("strip").append(...this.spans.flatMap((span, k) => {
      if (pieces[k] === "\n") return [span, h("br", { "aria-hidden": "true" })];
      return exact ? [span] : [span, " "];
    }));
    this.showTable();
    this.listen();
    this.show();
    if (!this.facts.stretch) return this.showPattern();
    this.at.anchor = this.facts.stretch[0];
    this.cursor(this.facts.stretch[1] - 1);
    this.select(...this.facts.stretch);
  }

  go(change) {
    const within = (v, top) => Math.min(Math.max(0, Math.trunc(Number(v)) || 0), top);
    const next = { ...this.at, ...change };
    next.block = within(next.block, this.facts.blocks.length - 1);
    next.unit = within(next.unit, this.facts.blocks[next.block].units - 1);
    const other = this.facts.blocks[next.block].state !== this.facts.blocks[this.at.block].state;
    this.at = next;
    this.show();
    if (other && next.stretch) this.select(...next.stretch);
  }

  show() {
    const { at } = this, scale = this.scale(), column = this.column;
    this.spans.forEach((span, t) => {
      const v = this.value(t, column);
      span.style.cssText = painted(signedHue(v / scale));
      span.title = `${t}: ${signed(v)}`;
      span.setAttribute("aria-label", `${t}, ${shown(this.facts.pieces[t])}: ${signed(v)}`);
    });
    place("block").value = at.block;
    place("unit").max = this.facts.blocks[at.block].units - 1;
    place("unit").value = at.unit;
    place("legend").textContent = `Unit ${this.name()}: blue below zero, orange above it, full at ±${brief(scale)}, the 99th percentile of its sizes in this text.`;
    for (const button of document.querySelectorAll("button.pick")) {
      button.setAttribute("aria-pressed", String(button.dataset.column === String(column)));
    }
    this.cursor(at.t, false);
  }

  cursor(t, follow = true) {
    this.spans[this.at.t].classList.remove("here");
    this.at.t = Math.min(Math.max(0, t), this.size - 1);
    const here = this.spans[this.at.t], strip = place("strip");
    here.classList.add("here");
    strip.setAttribute("aria-activedescendant", here.id);
    place("here").replaceChildren(`token ${this.at.t} `, h("bdi", { class: "token" }, shown(this.facts.pieces[this.at.t])), ` unit ${this.name()} = ${signed(this.value(this.at.t))}`);
    if (!follow) return;
    const above = here.offsetTop - strip.scrollTop, line = here.offsetHeight || 20;
    if (above < line || above > strip.clientHeight - 2 * line) strip.scrollTop = here.offsetTop - strip.clientHeight / 2;
  }

  /** Select tokens `first` to `end`, without the last, and search for what is on there. */
  select(first, end) {
    this.at.stretch = [first, end];
    const { state } = this.facts.blocks[this.at.block];
    const columns = this.facts.blocks.filter((b) => b.state === state)
      .flatMap((b) => Array.from({ length: b.units }, (_, unit) => ({ block: this.facts.blocks.indexOf(b), unit, column: b.first + unit })));
    this.found = search(columns.map(({ column }) => this.row(column, this.beyond)), first, end, this.facts);
    const held = new Set();
    for (const { best } of this.found?.matches ?? []) for (let t = best; t < best + end - first; t++) held.add(t);
    this.spans.forEach((span, t) => {
      span.setAttribute("aria-selected", String(t >= first && t < end));
      span.classList.toggle("match", held.has(t));
    });
    this.showPattern(columns);
  }

  text(first, end) {
    return this.facts.pieces.slice(Math.max(0, first), end).map((p) => (p === "\n" ? "⏎" : p)).join(this.facts.exact ? "" : " ");
  }

  pick(block, unit) {
    const column = this.facts.blocks[block].first + unit;
    return { class: "pick", type: "button", "data-column": column, "aria-pressed": String(column === this.column), onclick: () => this.go({ block, unit }) };
  }

  showPattern(columns) {
    const { found, at } = this, into = place("pattern");
    if (!at.stretch) {
      into.replaceChildren(h("p", {}, "Select a stretch of the text: this lists the units that are on throughout it, and where else they are on together."));
      return;
    }
    const [first, end] = at.stretch, { state } = this.facts.blocks[at.block];
    const head = h("p", {}, `Tokens ${first} to ${end - 1}: `, h("bdi", { class: "token" }, this.text(first, end)));
    if (!found) {
      into.replaceChildren(head, h("p", {}, `No unit of state ${state} is on throughout them; select fewer.`));
      place("status").textContent = "No unit is on throughout the selected tokens.";
      return;
    }
    const units = found.units.map(({ k, up }) => {
      const { block, unit } = columns[k];
      return h("li", {}, h("button", this.pick(block, unit), `${this.name({ block, unit })} ${up ? "high" : "low"}`));
    });
    const total = found.units.length;
    const matches = found.matches.map((m) => {
      const length = end - first, luck = found.luck[m.on];
      const around = this.facts.exact ? AROUND : 5;
      return h("li", {},
        h("bdi", { class: "token" }, this.text(m.best - around, m.best), this.facts.exact ? "" : " ", h("b", {}, this.text(m.best, m.best + length)), this.facts.exact ? "" : " ", this.text(m.best + length, m.best + length + around)),
        h("span", { class: "said" }, `${m.on} of ${total} on · Jaccard ${brief(m.jaccard)} · so many on in ${found.found[m.on].toLocaleString("en")} of ${found.stretches.toLocaleString("en")} stretches, by luck in ${luck < 0.01 ? "fewer than 0.01" : brief(luck)}`),
        h("button", { type: "button", onclick: () => { this.cursor(m.best); place("strip").focus(); } }, `token ${m.best}`));
    });
    into.replaceChildren(head,
      h("p", { class: "note" }, `${count(total, "unit")} of state ${state} ${total === 1 ? "is" : "are"} on throughout, more than ${found.above} standard deviations above (high) or below (low) ${total === 1 ? "its mean" : "their means"}:`),
      h("ul", { class: "on" }, units),
      matches.length
        ? h("p", { class: "note" }, `${count(found.spans, "place")} elsewhere where at least ${found.need} of them are on together${found.spans > matches.length ? `; the best ${matches.length}` : ""}. By luck: if each unit's values were shifted round the text by themselves.`)
        : h("p", {}, `Nowhere else in this text are ${found.need} of them on together.`),
      h("ol", { class: "matches", "aria-label": "Matches" }, matches));
    place("status").textContent = `${count(total, "unit")} on throughout; ${count(found.spans, "match", "matches")} elsewhere.`;
  }

  showTable() {
    const { heads, rows, caption, left } = this.facts.table;
    const body = rows.flatMap(({ asked, place: { layer, state, unit }, cells, verdict }) => {
      const block = this.blockOf(layer, state);
      const name = `${layer}:${unit} ${state}`;
      return [
        h("tr", { class: "asked" }, h("th", { scope: "row" }, asked),
          h("td", {}, block < 0 ? name : h("button", this.pick(block, unit), name)), cells.map((cell) => h("td", {}, minus(cell)))),
        h("tr", { class: "verdict" }, h("td", { colspan: 2 + cells.length }, h("div", {}, minus(verdict[0].toUpperCase() + verdict.slice(1))))),
      ];
    });
    place("probes").append(rows.length
      ? h("table", {}, h("caption", {}, h("span", {}, caption)), h("thead", {}, h("tr", {}, ["", "unit", ...heads].map((head) => h("th", { scope: "col" }, head || "feature")))), h("tbody", {}, body))
      : h("p", {}, "No feature of this text could be measured."));
    if (left.length) place("left").append(h("details", {}, h("summary", {}, `${count(left.length, "feature")} left out`), h("ul", {}, left.map(([name, why]) => h("li", {}, `${name}: ${why}`)))));
  }

  listen() {
    const strip = place("strip"), token = (event) => event.target.closest?.("[data-t]");
    let dragging = false, tapped = false;
    strip.addEventListener("pointerdown", (event) => {
      const over = token(event);
      if (!over || event.button) return;
      dragging = event.pointerType === "mouse"; // a finger scrolls
      if (dragging && !event.shiftKey) this.at.anchor = Number(over.dataset.t);
    });
    strip.addEventListener("pointerover", (event) => {
      const over = token(event);
      if (!over) return;
      this.cursor(Number(over.dataset.t), false);
      if (dragging) this.mark();
    });
    addEventListener("pointerup", () => {
      if (dragging) this.finish();
      dragging = false;
    });
    strip.addEventListener("click", (event) => {
      const over = token(event);
      if (!over) return;
      tapped = event.pointerType !== "mouse" && !tapped; // the second tap ends the stretch
      if (tapped) this.at.anchor = Number(over.dataset.t);
      this.cursor(Number(over.dataset.t), false);
      this.finish();
    });
    strip.addEventListener("keydown", (event) => {
      const { t } = this.at, last = this.size - 1;
      const to = {
        ArrowLeft: () => t - 1, ArrowRight: () => t + 1, Home: () => 0, End: () => last,
        ArrowUp: () => t - this.line(-1), ArrowDown: () => t + this.line(1),
      }[event.key]?.();
      if (event.key === "Enter" || event.key === " ") this.finish();
      else if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      else {
        this.cursor(to);
        if (event.shiftKey) this.finish();
        else this.at.anchor = this.at.t;
      }
      event.preventDefault();
    });
    place("block").addEventListener("change", (event) => this.go({ block: event.target.value }));
    place("unit").addEventListener("change", (event) => this.go({ unit: event.target.value }));
    place("before").addEventListener("click", () => this.go({ unit: this.at.unit - 1 }));
    place("after").addEventListener("click", () => this.go({ unit: this.at.unit + 1 }));
    DARK.addEventListener("change", () => this.show());
  }

  /** How many tokens lie between this one and the one below it, or above it. */
  line(way) {
    const here = this.spans[this.at.t], left = here.offsetLeft;
    let t = this.at.t;
    while (this.spans[t + way] && this.spans[t].offsetTop === here.offsetTop) t += way;
    const top = this.spans[t].offsetTop;
    while (this.spans[t + way]?.offsetTop === top && (way < 0 ? this.spans[t].offsetLeft > left : this.spans[t].offsetLeft < left)) t += way;
    return Math.abs(t - this.at.t);
  }

  /** The tokens from the anchor to the cursor. */
  range() {
    const { anchor, t } = this.at;
    return [Math.min(anchor, t), Math.max(anchor, t) + 1];
  }

  mark() {
    const [first, end] = this.range();
    this.spans.forEach((span, t) => span.setAttribute("aria-selected", String(t >= first && t < end)));
  }

  finish() {
    this.select(...this.range());
  }
}

/** Two numbers a byte, the low half first, from -levels to levels. */
function halves(text) {
  const bytes = new Uint8Array(decodeWords(text).buffer), made = new Int8Array(2 * bytes.length);
  bytes.forEach((byte, k) => {
    made[2 * k] = (byte & 15) - facts.levels.length;
    made[2 * k + 1] = (byte >> 4) - facts.levels.length;
  });
  return made;
}

const facts = JSON.parse(place("facts").textContent);
const units = new Units(facts, new Int8Array(decodeWords(place("values").textContent).buffer), halves(place("beyond").textContent));
units.begin();
globalThis.units = units; // for those who look on in the console
document.documentElement.dataset.ready = "true";
