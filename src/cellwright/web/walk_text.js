// A text as a model reads it: computed here, or, for a model too large for the page, stored.

const LN2 = Math.log(2);
const MOST_TOKENS = 400;
const BEST = 10;
const FURTHEST_PAST = 32;
const PATIENCE = 2e9; // weights times steps that a reader may wait for, some seconds
// Unicode's White_Space, at which the tokenizer splits words; \s has one sign more and one fewer.
const WHITE = /[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;

function json(id) {
  const held = document.getElementById(id);
  return held ? JSON.parse(held.textContent) : null;
}

/** Split what somebody typed into pieces and token ids, as the model's tokenizer does. */
function tokenize(text, { level, vocab }) {
  const ids = new Map(vocab.map((token, k) => [token, k]));
  let pieces, names;
  if (level === "char") {
    pieces = [...text];
    names = pieces;
  } else {
    pieces = text.split("\n").flatMap((line, k) => [...(k ? ["\n"] : []), ...line.split(WHITE).filter(Boolean)]);
    names = pieces.map((word) => (word === "\n" ? "<eos>" : word));
  }
  const kept = pieces.slice(0, MOST_TOKENS);
  return { pieces: kept, ids: kept.map((_, k) => ids.get(names[k]) ?? 0), cut: pieces.length - kept.length };
}

class LiveText {
  constructor(model, { pieces, ids }) {
    Object.assign(this, { model, pieces, ids });
    this.reading = model.read(ids);
    this.logs = this.reading.map(({ logits }) => logSoftmax(logits));
    this.seen = new Map();
  }

  value(layer, node, t) {
    return this.reading[t].values[layer][node];
  }

  weights(layer, node) {
    return this.model.layers[layer].weights[node];
  }

  best(t) {
    const { logits } = this.reading[t], log = this.logs[t];
    const order = [...log.keys()].sort((a, b) => log[b] - log[a] || a - b).slice(0, BEST);
    return order.map((id) => ({ id, p: Math.exp(log[id]), logit: logits[id] }));
  }

  /** Probability and logit of one token after token t. */
  of(t, id) {
    return { id, p: Math.exp(this.logs[t][id]), logit: this.reading[t].logits[id] };
  }

  output(t) {
    return this.reading[t].output;
  }

  readout(id) {
    const { decoder, bias } = this.model, width = this.output(0).length;
    return { row: decoder.subarray(id * width, (id + 1) * width), bias: bias[id] };
  }

  lookBack(t, target) {
    const key = `${t} ${target}`;
    if (!this.seen.has(key)) this.seen.set(key, lookBack(this.model, this.ids, this.reading, t, target));
    return this.seen.get(key);
  }

  /** -log2 p of token t by what came before it; null for the first, which nothing came before. */
  bits(t) {
    return t ? -this.logs[t - 1][this.ids[t]] / LN2 : null;
  }

  /** The same where every token is read from states of zero: a model without a past. */
  alone(t) {
    this.lone ??= this.ids.map((id) => {
      const { output } = this.model.step(this.model.row(id), this.model.start());
      return logSoftmax(this.model.logits(output));
    });
    return t ? -this.lone[t - 1][this.ids[t]] / LN2 : null;
  }

  /** [k, mean bits] where each token is predicted from the k before it, or all that there are. */
  past() {
    this.windows ??= lastTokens(this.model, this.ids);
    return this.windows;
  }
}

function lastTokens(model, ids) {
  const { size } = model, last = ids.length - 1;
  const most = Math.min(FURTHEST_PAST, last, Math.max(1, Math.floor(PATIENCE / (size * last))));
  const sums = new Float64Array(most);
  for (let first = 0; first < last; first++) {
    let state = model.start();
    for (let k = 0; k < most && first + k < last; k++) {
      const { after, output } = model.step(model.row(ids[first + k]), state);
      const bits = -logSoftmax(model.logits(output))[ids[first + k + 1]] / LN2;
      // from the text's first token on, what came before is all that there was
      for (let context = k; context < (first ? k + 1 : most); context++) sums[context] += bits;
      state = after;
    }
  }
  const found = [];
  for (let k = 1; k <= most; k *= 2) found.push([k, sums[k - 1] / last]);
  return found;
}

/** What is read and what the matrices make is stored; the rest follows from it unit by unit. */
class StoredText {
  constructor(facts, floats) {
    Object.assign(this, facts.text, { facts, floats, made: new Map() });
  }

  at([start, size]) {
    return this.floats.subarray(start, start + size);
  }

  value(layer, node, t) {
    const place = this.facts.values[layer][node], width = this.facts.widths[layer][node];
    if (place) return this.at([place[0] + t * width, width]);
    const key = `${layer} ${node} ${t}`;
    if (!this.made.has(key)) {
      const own = this.facts.graph.nodes[node];
      const args = own.args.map((k) => this.value(layer, k, t));
      const weights = this.weights(layer, node);
      this.made.set(key, wide(OPS[own.op]({ node: own, width, weights, args }), width));
    }
    return this.made.get(key);
  }

  weights(layer, node) {
    const places = this.facts.weights[layer][node] || {};
    return Object.fromEntries(Object.entries(places).map(([kind, place]) => [kind, this.at(place)]));
  }

  best(t) {
    return this.facts.best[t].slice(0, BEST);
  }

  of(t, id) {
    return this.facts.best[t].find((guess) => guess.id === id);
  }

  output(t) {
    return this.value(this.facts.values.length - 1, this.facts.graph.output, t);
  }

  readout(id) {
    const { row, bias } = this.facts.readout[id];
    return { row: this.at(row), bias };
  }

  lookBack(t) {
    return this.facts.back[t];
  }

  bits(t) {
    return this.facts.bits[t];
  }

  alone(t) {
    return this.facts.alone[t];
  }

  past() {
    return this.facts.past;
  }
}

/** The largest difference between logits computed here and those that PyTorch computed. */
function selfCheck(text, { positions, size, place }, floats) {
  let worst = 0;
  positions.forEach((t, n) => {
    const { logits } = text.reading[t];
    for (let v = 0; v < size; v++) {
      const difference = Math.abs(logits[v] - floats[place + n * size + v]);
      if (!(difference <= worst)) worst = difference; // a NaN is the worst of all
    }
  });
  return worst;
}
