// The interpreter: a cell's graph as data, its weights, and one function for each operation.

/** Numbers in base 85 as float32. */
function decodeFloats(text) {
  const view = decodeWords(text), floats = new Float32Array(view.byteLength / 4);
  for (let w = 0; w < floats.length; w++) floats[w] = view.getFloat32(4 * w, true);
  return floats;
}

function each(f) {
  return ({ args: [a] }) => Float64Array.from(a, f);
}

function pairs(f) {
  return ({ args: [a, b] }) => {
    const made = new Float64Array(Math.max(a.length, b.length));
    for (let k = 0; k < made.length; k++) {
      made[k] = f(a[a.length > 1 ? k : 0], b[b.length > 1 ? k : 0]);
    }
    return made;
  };
}

function choose({ args: [condition, yes, no], width }) {
  const pick = (v, k) => v[v.length > 1 ? k : 0];
  const made = new Float64Array(width);
  for (let k = 0; k < width; k++) made[k] = pick(condition, k) ? pick(yes, k) : pick(no, k);
  return made;
}

/** rows [R, C] of weights times v [C]. */
function product(weight, v, rows) {
  const made = new Float64Array(rows), columns = v.length, fours = columns - (columns % 4);
  for (let r = 0, at = 0; r < rows; r++) {
    let a = 0, b = 0, c = 0, d = 0; // four sums that do not wait for one another
    let k = 0;
    for (; k < fours; k += 4, at += 4) {
      a += weight[at] * v[k];
      b += weight[at + 1] * v[k + 1];
      c += weight[at + 2] * v[k + 2];
      d += weight[at + 3] * v[k + 3];
    }
    for (; k < columns; k++) a += weight[at++] * v[k];
    made[r] = a + b + c + d;
  }
  return made;
}

const EPSILON = 1e-5;

function moments(v) {
  let mean = 0, square = 0;
  for (const x of v) mean += x / v.length;
  for (const x of v) square += (x - mean) ** 2 / v.length;
  return { mean, deviation: Math.sqrt(square + EPSILON) };
}

function normed({ args: [v], weights }) {
  const { mean, deviation } = moments(v);
  return Float64Array.from(v, (x, k) => ((x - mean) / deviation) * weights.gain[k] + weights.shift[k]);
}

function spread({ node, width }) {
  const n = node.values.length;
  return Float64Array.from({ length: width }, (_, k) => node.values[Math.floor(((k + 1) * n - 1) / width)]);
}

function given({ node }) {
  throw new Error(`${node.op} is given, not computed`);
}

const sigmoid = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

const OPS = {
  input: given,
  state: given,
  constant: ({ node }) => Float64Array.of(node.value),
  modules: spread,
  linear: ({ weights, args: [v], width }) => (weights.weight ? product(weights.weight, v, width) : v),
  diagonal: ({ weights, args: [v] }) => Float64Array.from(v, (x, k) => x * weights.weight[k]),
  bias: ({ weights, width }) => Float64Array.from(weights.bias || new Float64Array(width)),
  layer_norm: normed,
  part: ({ node, width, args: [v] }) => v.subarray(node.index * width, (node.index + 1) * width),
  concat: ({ args }) => Float64Array.from(args.flatMap((v) => [...v])),
  add: pairs((a, b) => a + b),
  sub: pairs((a, b) => a - b),
  mul: pairs((a, b) => a * b),
  div: pairs((a, b) => a / b),
  neg: each((a) => -a),
  abs: each(Math.abs),
  sigmoid: each(sigmoid),
  tanh: each(Math.tanh),
  relu: each((a) => Math.max(a, 0)),
  exp: each(Math.exp),
  log: each(Math.log),
  maximum: pairs(Math.max),
  minimum: pairs(Math.min),
  less: pairs((a, b) => (a < b ? 1 : 0)),
  less_equal: pairs((a, b) => (a <= b ? 1 : 0)),
  where: choose,
};

function wide(value, width) {
  return value.length === width ? value : new Float64Array(width).fill(value[0]);
}

/** A language model: embedding, layers of one cell, decoder. */
class Model {
  constructor(spec, at) {
    this.graph = spec.graph;
    this.vocab = spec.vocab;
    this.unknown = spec.unknown; // null for byte pairs, which know every text
    this.embed = spec.embed;
    this.embedding = at(spec.embedding);
    this.decoder = at(spec.decoder);
    this.bias = at(spec.bias);
    this.layers = spec.layers.map(({ widths, weights }) => ({
      widths,
      weights: widths.map((_, k) =>
        Object.fromEntries(Object.entries(weights[k] || {}).map(([kind, place]) => [kind, at(place)]))),
    }));
  }

  /** How many weights one step multiplies. */
  get size() {
    const products = this.layers.flatMap(({ weights }) => weights.map(({ weight }) => weight?.length || 0));
    return products.reduce((sum, n) => sum + n, this.decoder.length);
  }

  row(id) {
    return Float64Array.from(this.embedding.subarray(id * this.embed, (id + 1) * this.embed));
  }

  start() {
    const { states } = this.graph;
    return this.layers.map(({ widths }) => states.map((s) => new Float64Array(widths[s.leaf])));
  }

  /** One step of all layers: every node's value in each, and the states after it. */
  step(x, before) {
    const { nodes, states, output } = this.graph;
    const values = [], after = [];
    this.layers.forEach(({ widths, weights }, l) => {
      const made = [];
      nodes.forEach((node, k) => {
        if (node.op === "input") made.push(x);
        else if (node.op === "state") made.push(before[l][states.findIndex((s) => s.leaf === k)]);
        else {
          const args = node.args.map((a) => made[a]);
          made.push(OPS[node.op]({ node, width: widths[k], weights: weights[k], args }));
        }
      });
      const all = made.map((v, k) => wide(v, widths[k]));
      values.push(all);
      after.push(states.map((s) => wide(all[s.next], widths[s.leaf])));
      x = all[output];
    });
    return { values, after, output: x };
  }

  logits(h) {
    const made = product(this.decoder, h, this.vocab);
    for (let v = 0; v < made.length; v++) made[v] += this.bias[v];
    return made;
  }

  /** Read a text from states of zero: for each token the nodes' values and the logits. */
  read(ids) {
    let state = this.start();
    return ids.map((id) => {
      const before = state;
      const { values, after, output } = this.step(this.row(id), before);
      state = after;
      return { values, before, output, logits: this.logits(output) };
    });
  }

  /** log p(target) after `rows` of inputs, read from the states `state`. */
  score(rows, state, target) {
    let output;
    for (const x of rows) ({ after: state, output } = this.step(x, state));
    return logSoftmax(this.logits(output))[target];
  }
}

function logSoftmax(logits) {
  const top = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  let sum = 0;
  for (const x of logits) sum += Math.exp(x - top);
  const total = top + Math.log(sum);
  return Float64Array.from(logits, (x) => x - total);
}

const FURTHEST = 24, REPLACEMENTS = 3;

/** For each token of a text the others that take its place, as the Python side chooses them. */
function replacementsOf(ids, { vocab, unknown }) {
  const counts = new Map();
  for (const id of ids) counts.set(id, (counts.get(id) || 0) + 1);
  const order = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a) || a - b);
  for (let k = 0; k < Math.min(vocab, REPLACEMENTS + counts.size + 2); k++) if (!counts.has(k)) order.push(k);
  return (id) => {
    const others = order.filter((r) => r !== id), known = others.filter((r) => r !== unknown);
    return known.length ? known.slice(0, REPLACEMENTS) : others;
  };
}

/** What the prediction of `target` after token `t` owes to each of the tokens before it. */
function lookBack(model, ids, reading, t, target) {
  const first = Math.max(0, t + 1 - FURTHEST);
  const others = replacementsOf(ids, model);
  const rows = ids.slice(0, t + 1).map((id) => model.row(id));
  const whole = logSoftmax(reading[t].logits)[target];
  const effects = [], slopes = [];
  const before = (j) => reading[j].before;
  const changed = (j, x) => model.score([x, ...rows.slice(j + 1)], before(j), target);
  for (let j = first; j <= t; j++) {
    const drops = others(ids[j]).map((r) => whole - changed(j, model.row(r)));
    effects.push(drops.length ? drops.reduce((a, b) => a + b) / drops.length : 0);
    const mean = new Float64Array(model.embed);
    for (const r of others(ids[j])) model.row(r).forEach((x, k) => { mean[k] += x / drops.length; });
    const moved = (size) => rows[j].map((x, k) => x + size * (mean[k] - x));
    const size = 1e-4; // central difference: its error is of order 1e-8
    slopes.push((changed(j, moved(-size)) - changed(j, moved(size))) / (2 * size));
  }
  return { first, effects, slopes };
}
