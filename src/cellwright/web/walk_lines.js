// Elements, numbers, and the lines that can be checked by hand.

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children.flat());
  return made;
}

function math(inner) {
  const made = h("span", { class: "math" });
  made.innerHTML = `<math>${inner}</math>`; // made by Cellwright of the equations, not of the text
  return made;
}

/** Six decimals; the last two are there to recompute the first four by. */
function decimals(v) {
  const size = Math.abs(v);
  const short = v !== 0 && (size < 1e-4 || size >= 1e6);
  return (short ? v.toExponential(5).replace(/e([+-])(\d)$/, "e$10$2") : v.toFixed(6)).replace(/-/g, "−");
}

function num(v, factor = false) {
  const text = decimals(v), fixed = !text.includes("e") && Number.isFinite(v);
  const parts = fixed ? [text.slice(0, -2), h("span", { class: "more" }, text.slice(-2))] : [text];
  const negative = factor && text.startsWith("−");
  return h("span", { class: "num" }, negative ? "(" : null, parts, negative ? ")" : null);
}

/** What the working of one value needs to know of where it stands. */
class Working {
  constructor(view) {
    this.view = view;
    this.known = new Set();
  }

  width(k) {
    return this.view.widths[k];
  }

  value(k, unit) {
    const v = this.view.value(k);
    return v[v.length > 1 ? unit : 0];
  }

  /** Which argument of a part or of a concatenation a unit comes from, and which unit of it. */
  source(k, unit) {
    const node = this.view.nodes[k];
    if (node.op === "part") return [node.args[0], unit + node.index * this.width(k)];
    for (const arg of node.args) {
      if (unit < this.width(arg)) return [arg, unit];
      unit -= this.width(arg);
    }
    throw new Error("a unit beyond its vector");
  }

  /** The lines of a value, its own last, each with its unit; null for a unit that it lacks. */
  lines(k, unit) {
    if (unit >= this.width(k)) return null;
    const found = new Map();
    const visit = (node, at) => {
      const line = this.view.lines[node];
      for (const token of line.tokens) {
        if (typeof token !== "number" || this.known.has(token) || found.has(token)) continue;
        if (!this.view.lines[token]?.own) continue;
        const moved = line.kind === "part" || line.kind === "concat";
        const [source, inner] = moved ? this.source(node, at) : [token, at];
        if (source === token) visit(token, inner);
      }
      found.set(node, at);
    };
    visit(k, unit);
    this.known.add(k);
    return [...found];
  }

  numbers(line, k, unit) {
    const node = this.view.nodes[k];
    if (line.kind === "part" || line.kind === "concat") {
      const [source, at] = this.source(k, unit);
      return [`unit ${at} of ${this.view.nodes[source].name || "the vector"}`];
    }
    if (line.kind === "linear") {
      return [`row ${unit} of the matrix times ${this.width(node.args[0])} numbers`];
    }
    const weights = this.view.weights(k);
    if (line.kind === "diagonal") return [num(weights.weight[unit]), " · ", num(this.value(node.args[0], unit), true)];
    if (line.kind === "layer_norm") return this.normed(node, weights, unit);
    const made = line.tokens.map((token, n) => {
      if (typeof token === "string") return token;
      const before = n ? line.tokens[n - 1] : "(";
      return num(this.value(token, unit), !(typeof before === "string" && before.endsWith("(")));
    });
    return line.terms.length ? [...made, " = ", this.sum(line, unit)] : made;
  }

  sum(line, unit) {
    return line.terms.flatMap(([sign, k], n) => {
      const between = n ? (sign < 0 ? " − " : " + ") : sign < 0 ? "−" : "";
      return [between, num(this.value(k, unit), n > 0 || sign < 0)];
    });
  }

  normed(node, weights, unit) {
    const v = this.view.value(node.args[0]), { mean, deviation } = moments(v);
    return ["(", num(v[unit]), " − ", num(mean, true), ") / ", num(deviation), " · ",
      num(weights.gain[unit], true), " + ", num(weights.shift[unit], true)];
  }

  /** A value's lines as a list: formula, numbers, value; below, where its products come from. */
  item(k, unit) {
    const lines = this.lines(k, unit), node = this.view.nodes[k];
    const label = node.name ? this.view.lines[k].name : this.view.lines[k].text;
    if (!lines) {
      return h("p", { class: "note" }, `${label} has ${this.width(k)} units; there is no unit ${unit}.`);
    }
    const list = lines.map(([at, own]) => {
      const line = this.view.lines[at];
      const left = line.left ? [math(line.left), " = "] : [];
      return h("li", { "data-node": at },
        h("div", { class: "formula" }, left, math(line.math)),
        h("div", { class: "numbers" }, h("span", {}, this.numbers(line, at, own)),
          h("span", { class: "equals" }, " = "), h("strong", { class: "value" }, num(this.value(at, own)))));
    });
    return h("div", { class: "item", role: "group", "aria-label": label },
      h("ol", { class: "lines" }, list), this.products(lines));
  }

  /** The products with matrices that stand in some lines: their largest summands. */
  products(lines) {
    const found = lines.flatMap(([k, unit]) => {
      const own = this.view.lines[k].kind === "linear" ? [k] : [];
      return [...own, ...this.view.lines[k].tokens.filter((t) => this.view.nodes[t]?.op === "linear")]
        .map((t) => [t, unit]);
    });
    const shown = found.filter(([k]) => this.view.weights(k).weight);
    if (!shown.length) return null;
    return h("details", { class: "products" },
      h("summary", {}, "Where the products with matrices come from"),
      shown.map(([k, unit]) => this.product(k, unit)));
  }

  product(k, unit) {
    const arg = this.view.nodes[k].args[0], v = this.view.value(arg), total = this.value(k, unit);
    const row = this.view.weights(k).weight.subarray(unit * v.length, (unit + 1) * v.length);
    const order = [...v.keys()].sort((a, b) => Math.abs(row[b] * v[b]) - Math.abs(row[a] * v[a])).slice(0, 5);
    const rest = order.reduce((sum, c) => sum - row[c] * v[c], total);
    const cells = (...all) => h("tr", {}, all);
    return h("table", {},
      h("caption", {}, math(this.view.lines[k].math), `, row ${unit}: the five largest of ${v.length} products`),
      h("thead", {}, cells(...["column", "weight", "number", "product"].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", {},
        order.map((c) => cells(h("th", { scope: "row" }, String(c)), ...[row[c], v[c], row[c] * v[c]].map((x) => h("td", {}, num(x))))),
        cells(h("th", { scope: "row" }, "the others"), h("td"), h("td"), h("td", {}, num(rest))),
        cells(h("th", { scope: "row" }, "sum"), h("td"), h("td"), h("td", {}, num(total)))));
  }
}
