// The nine steps: each gives what stands below its heading.

const say = (...parts) => h("p", { class: "say" }, parts);
const note = (...parts) => h("p", { class: "note" }, parts);
const cell = (...parts) => h("td", {}, parts);
const heads = (...names) => h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name))));

function table(caption, names, rows) {
  return h("div", { class: "wide", role: "region", tabindex: "0", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), heads(...names), h("tbody", {}, rows)));
}

/** Which way a state's next value was made for one unit: the terms of the branch that held. */
function terms(made, working, unit) {
  if (made.terms) return made;
  return terms(working.value(made.condition, unit) ? made.yes : made.no, working, unit);
}

/** A node's name, or its formula. */
function called(page, k) {
  const line = page.facts.lines[k];
  return line ? math(line.left || line.math) : math(page.facts.leaves[k]);
}

function updates(page, working) {
  const { unit } = page.at;
  return page.facts.updates
    .filter(({ leaf }) => unit < working.width(leaf))
    .map((update) => ({ ...update, ...terms(update.made, working, unit) }));
}

function kept(page, working, { name, leaf, terms: all }) {
  const { unit } = page.at, keeping = all.filter((term) => term.factors);
  const was = ["Unit ", String(unit), ": ", h("i", {}, name), " was ", num(working.value(leaf, unit))];
  if (!keeping.length) {
    return say(...was, `. Nothing of it is carried over unit by unit: the past comes in through the products with the states.`);
  }
  return say(...was, keeping.flatMap(({ node, factors }) => {
    const left = num(working.value(node, unit));
    if (!factors.length) return ["; it stays whole"];
    const by = factors.flatMap((k, n) => [n ? " and " : "; ", called(page, k), " = ", num(working.value(k, unit))]);
    return [...by, factors.length > 1 ? " keep " : " keeps ", left];
  }), ".");
}

function waterfall(page, working, update) {
  const { unit } = page.at, start = working.value(update.leaf, unit), end = working.value(update.next, unit);
  const keeping = update.terms.filter((term) => term.factors), rest = update.terms.filter((term) => !term.factors);
  const bars = [{ label: `${update.name} before`, from: 0, to: start }];
  let level = 0;
  for (const { node, sign } of keeping) {
    bars.push({ label: `kept: ${page.facts.lines[node]?.text ?? update.name}`, from: level, to: (level += sign * working.value(node, unit)), kept: true });
  }
  for (const { node, sign } of rest) {
    bars.push({ label: `${sign < 0 ? "− " : "+ "}${page.facts.lines[node]?.name || page.facts.lines[node]?.text || page.facts.nodes[node].name || "a number"}`, from: level, to: (level += sign * working.value(node, unit)) });
  }
  bars.push({ label: `${update.name} after`, from: 0, to: end });
  const low = Math.min(0, ...bars.map((b) => Math.min(b.from, b.to))), high = Math.max(0, ...bars.map((b) => Math.max(b.from, b.to)));
  const span = high - low || 1, room = NARROW.matches ? 330 : 520;
  const x = (v) => 4 + ((v - low) / span) * (room - 8);
  const height = 34 * bars.length + 4;
  const words = bars.map(({ label, from, to }) => `${label}: ${brief(to - from, 4)}`).join("; ");
  return h("figure", {},
    svg("svg", { viewBox: `0 0 ${room} ${height}`, class: "waterfall", role: "img", "aria-label": words },
      svg("line", { x1: x(0), x2: x(0), y1: 0, y2: height, class: "zero" }),
      bars.flatMap(({ label, from, to, kept: stays }, k) => {
        const y = 34 * k, whole = k === 0 || k === bars.length - 1;
        const made = svg("rect", { x: Math.min(x(from), x(to)), y: y + 15, width: Math.max(1, Math.abs(x(to) - x(from))), height: 12, class: whole ? "whole" : stays ? "kept" : to < from ? "down" : "up" });
        const name = svg("text", { x: 6, y: y + 11 }), amount = svg("text", { x: room - 4, y: y + 11, "text-anchor": "end" });
        name.textContent = label;
        amount.textContent = brief(to - from, 4);
        return [made, name, amount];
      })),
    h("figcaption", {}, `From ${update.name} before to ${update.name} after, for unit ${unit}: each bar begins where the one above it ends. Green is kept; of what is written, orange adds and blue takes away.`));
}

const items = (page, working, step) => step.items.map((k) => working.item(k, page.at.unit));

/** The lines of the steps before this one stand on their own pages: their values are known here. */
function workingOf(page, step) {
  const working = new Working(page.view());
  for (const earlier of page.facts.steps) {
    if (earlier === step) break;
    for (const k of earlier.items || []) working.known.add(k);
  }
  return working;
}

function guesses(page, t) {
  const { text } = page, target = page.target(t), best = text.best(t);
  return best.some(({ id }) => id === target) ? best : [...best, text.of(t, target)];
}

/** The difference of two numbers as they are shown, so that a reader finds the same. */
const lack = (a, b) => (Math.round(100 * shownAs(a)) - Math.round(100 * shownAs(b))) / 100;
const shownAs = (v) => Number(v.toFixed(2));

/** What each model would need if it were told of the last tokens only: a table, and what it says. */
function howFarBack(models) {
  const NEAR = 0.1, counts = models[0].past.map(([k]) => k);
  const enough = ({ label, past, mean }) => {
    const found = past.find((_, n) => past.slice(n).every(([, bits]) => lack(bits, mean) <= NEAR));
    return found ? `${label} must be told of the last ${found[0] === 1 ? "token" : `${found[0]} tokens`}`
      : `${label} must be told of more than the last ${counts.at(-1)} tokens, which leave it ${brief(lack(past.at(-1)[1], mean))} bits above`;
  };
  const most = Math.max(...models.flatMap(({ past, mean }) => [mean, ...past.map(([, bits]) => bits)]));
  const bar = (bits) => (bits === undefined ? cell("–") : h("td", { class: "bar" }, h("span", { style: `width:${(100 * bits) / most}%`, "aria-hidden": "true" }), h("b", {}, brief(bits))));
  const row = (label, pick) => h("tr", {}, h("th", { scope: "row" }, label), models.map((model) => bar(pick(model))));
  return [
    h("h3", {}, "How far back it looks"),
    note(`On this text, to stay at most ${NEAR} bits above what all of the past gives, ${models.map(enough).join("; ")}.`),
    table("Bits a token where each is predicted from the last few before it alone", ["told of", ...models.map(({ label }) => label)], [
      ...counts.map((k) => row(k === 1 ? "the last token" : `the last ${k}`, ({ past }) => past.find(([n]) => n === k)?.[1])),
      row("all of the past", ({ mean }) => mean),
    ]),
    note("The same weights read the last tokens from states of 0, for every token of the text. What came further back cannot help there."),
  ];
}

/** What a mean surprise amounts to: a guess among so many, or worse than a guess among all. */
function asIfAmong(bits, vocab) {
  const blind = Math.log2(vocab);
  if (bits <= blind) return `as if it had to guess among ${brief(2 ** shownAs(bits), 1)} equally likely ones`;
  return `more than the ${brief(blind)} bits of a blind guess among the ${vocab} tokens that it knows: it expected something else`;
}

const STEPS = {
  text(page) {
    const { text, facts } = page;
    const seen = text.pieces.map((_, k) => [k, text.bits(k)]).filter(([, bits]) => bits !== null);
    const mean = seen.reduce((sum, [, bits]) => sum + bits, 0) / seen.length;
    const most = [...seen].sort((a, b) => b[1] - a[1]).slice(0, 5);
    const rows = most.map(([k, bits]) => h("tr", {},
      h("th", { scope: "row" }, h("button", { type: "button", onclick: () => page.go({ t: k }) }, `${k} `, token(text.pieces[k]))),
      cell(brief(bits)), cell(brief(100 * 2 ** -bits, 1), " %"), cell(token(page.name(text.best(k - 1)[0].id)), ` ${brief(100 * text.best(k - 1)[0].p, 1)} %`)));
    return [
      seen.length ? say(`${text.pieces.length} tokens. On average the model was surprised by ${brief(mean)} bits a token, ${asIfAmong(mean, facts.vocab)}.`)
        : say("One token: nothing came before it that could predict it."),
      note("Surprise is −log₂ p, p being the probability that the model gave to the token that came. The first token is read, not predicted."),
      rows.length ? table("What surprised it most", ["token", "bits", "p", "its own guess"], rows) : null,
      page.unknown ? note(`${page.unknown} of the tokens the model has never seen: it reads them as “unknown”.`) : null,
      page.unread ? h("p", { class: "warning" }, "The address names another text, which this page cannot read: what you see is the text that the page was made with.") : null,
      page.form ? page.form() : note(facts.why),
    ];
  },

  in(page) {
    const { at, facts, text } = page, view = page.view();
    const x = view.value(facts.input);
    const below = at.layer ? `the output of layer ${at.layer - 1}` : "the row that the embedding has for this token";
    return [
      say("The model reads ", token(text.pieces[at.t]), `, token ${at.t}`, facts.widths.length > 1 ? `, in layer ${at.layer} of 0 to ${facts.widths.length - 1}` : "", "."),
      page.vector(`${facts.nodes[facts.input].name}, ${below}`, x, false),
      note(at.t ? "What the layer brings along from the token before:" : "This is the first token: all states are 0."),
      ...facts.states.map(({ name, leaf }) => page.vector(`${name} before`, view.value(leaf), true)),
      h("ul", { class: "values" }, facts.states.filter(({ leaf }) => at.unit < view.widths[leaf])
        .map(({ leaf }) => h("li", {}, math(facts.leaves[leaf]), ` of unit ${at.unit} = `, num(view.value(leaf)[at.unit])))),
    ];
  },

  forget(page, step) {
    const working = workingOf(page, step), all = updates(page, working);
    const said = all.map((update) => kept(page, working, update));
    if (step.items.length) return [...said, ...items(page, working, step)];
    return [...said, note("This cell has no gate that keeps a state: see what it writes.")];
  },

  write(page, step) {
    const working = workingOf(page, step), { unit } = page.at;
    const said = updates(page, working).map(({ name, terms: all }) => {
      const writing = all.filter((term) => !term.factors);
      if (!writing.length) return say(`Unit ${unit}: nothing is written into `, h("i", {}, name), ".");
      return say(`Unit ${unit}: `, writing.flatMap(({ node, sign }, n) => [n ? ", " : "", called(page, node), sign < 0 ? " takes " : " writes ", num(working.value(node, unit))]), " into ", h("i", {}, name), ".");
    });
    return [...said, ...items(page, working, step)];
  },

  update(page, step) {
    const working = workingOf(page, step), { unit } = page.at;
    const all = updates(page, working).sort((a, b) => a.next - b.next);
    const within = step.items.filter((k) => !page.facts.updates.some(({ next }) => next === k));
    return [...within.map((k) => working.item(k, unit)), ...all.flatMap((update) => [
      say(`Unit ${unit}: `, h("i", {}, update.name), " goes from ", num(working.value(update.leaf, unit)), " to ", num(working.value(update.next, unit)), "."),
      waterfall(page, working, update),
      working.item(update.next, unit),
    ])];
  },

  reveal(page, step) {
    const { facts } = page, { unit } = page.at, working = workingOf(page, step), view = page.view();
    const held = facts.updates[0], out = facts.output, shows = called(page, out);
    if (facts.updates.some(({ next }) => next === out)) {
      return [say("What the layer gives on is ", shows, " itself: this cell holds nothing back."), ...items(page, working, step), page.vector(`${facts.nodes[out].name.replace(".next", " after")}`, view.value(out), true)];
    }
    const parts = [page.vector(`${facts.outputName}, what the layer gives on`, view.value(out), true)];
    if (view.widths[held.next] === view.widths[out]) {
      const c = view.value(held.next), shown_ = view.value(out);
      const hidden = [...c.keys()].map((k) => [k, Math.min(1, Math.abs(c[k])) - Math.abs(shown_[k])]).sort((a, b) => b[1] - a[1]).slice(0, 5);
      parts.push(table(`Held but hidden: much in ${held.name}, little in ${facts.outputName}`, ["unit", held.name, facts.outputName],
        hidden.map(([k]) => h("tr", {}, h("th", { scope: "row" }, h("button", { type: "button", onclick: () => page.go({ unit: k }) }, `unit ${k}`)), cell(num(c[k])), cell(num(shown_[k]))))));
    }
    const held_ = unit < view.widths[held.next] ? [h("i", {}, held.name), " is ", num(working.value(held.next, unit))] : [];
    const given_ = unit < view.widths[out] ? ["; the layer shows ", shows, " = ", num(working.value(out, unit))] : [];
    return [say(`Unit ${unit}: `, held_, given_, "."), ...items(page, working, step), ...parts];
  },

  predict(page) {
    const { at, text, facts } = page, all = guesses(page, at.t), came = at.t + 1 < text.ids.length;
    const chosen = all.find(({ id }) => id === page.chosen) || all.find(({ id }) => id === page.target());
    const output = text.output(at.t), { row, bias } = text.readout(chosen.id);
    const given_ = [...output.keys()].map((k) => [k, row[k] * output[k]]).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
    const first = given_.slice(0, 8), own = given_.slice(8).find(([k]) => k === at.unit);
    const listed = own && at.layer === facts.widths.length - 1 ? [...first, own] : first;
    const rest = listed.reduce((sum, [, v]) => sum - v, chosen.logit - bias);
    const name = token(page.name(chosen.id));
    const choose = ({ id, p, logit }, n) => h("tr", { class: came && id === page.target() ? "came" : null },
      h("th", { scope: "row" }, h("button", { type: "button", id: `guess-${n}`, "aria-pressed": String(id === chosen.id), onclick: () => { page.chosen = id; page.go({}); } }, token(page.name(id)), came && id === page.target() ? " came" : "")),
      h("td", { class: "bar" }, h("span", { style: `width:${(100 * p).toFixed(1)}%`, "aria-hidden": "true" }), h("b", {}, `${brief(100 * p, 2)} %`)), cell(num(logit)));
    const line = (label, ...cells) => h("tr", {}, h("th", { scope: "row" }, label), cells);
    return [
      say("After ", token(text.pieces[at.t]), " the model thinks most of ", token(page.name(all[0].id)), `, at ${brief(100 * all[0].p, 1)} %. `,
        came ? ["What came is ", token(text.pieces[at.t + 1]), `, at ${brief(100 * text.of(at.t, page.target()).p, 1)} %.`] : "The text ends here."),
      table("The likeliest next tokens; choose one to see what makes it likely", ["token", "p", "logit"], all.map(choose)),
      h("h3", {}, "What each unit says of ", name),
      note("The logit of a token is a sum: a number from each unit of the last layer, its output times a weight, and a bias. p = exp(logit) / the sum of exp over all tokens."),
      table(`The logit of ${shown(page.name(chosen.id))} as a sum`, ["unit", "output", "weight", "product"], [
        ...listed.map(([k, v]) => line(`unit ${k}`, cell(num(output[k])), cell(num(row[k])), cell(num(v)))),
        line("the others", cell(), cell(), cell(num(rest))), line("bias", cell(), cell(), cell(num(bias))),
        line("logit", cell(), cell(), cell(h("strong", {}, num(chosen.logit)))),
      ]),
    ];
  },

  back(page) {
    const { at, text } = page, target = page.target(), { first, effects, slopes } = text.lookBack(at.t, target);
    const order = [...effects.keys()].sort((a, b) => Math.abs(effects[b]) - Math.abs(effects[a]));
    const bySlope = [...slopes.keys()].sort((a, b) => Math.abs(slopes[b]) - Math.abs(slopes[a]));
    const top = order[0], differ = bySlope[0] !== top || effects[top] * slopes[top] < 0;
    const most = Math.max(...effects.map(Math.abs), ...slopes.map(Math.abs), 1e-9);
    const bar = (v) => h("td", { class: "signed" }, h("span", { class: v < 0 ? "down" : "up", "aria-hidden": "true", style: `width:${(50 * Math.abs(v)) / most}%` }), h("b", {}, brief(v, 4)));
    return [
      say("The prediction of ", token(page.name(target)), " after token ", String(at.t), " leans most on ", token(text.pieces[first + top]), `, token ${first + top}: `,
        effects[top] < 0 ? `with others in its place, log p rises by ${brief(-effects[top], 3)} nats.` : `with others in its place, log p falls by ${brief(effects[top], 3)} nats.`),
      differ ? h("p", { class: "warning" }, h("strong", {}, "The two measures disagree"), " on which token matters most, or on its sign. Trust the replacement: it asks the model itself; the gradient is a straight line drawn at one point.") : null,
      table(effects.length > 1 ? `Each of the last ${effects.length} tokens, the largest effect first` : "The only token", ["token", "replaced", "gradient"],
        order.map((k) => h("tr", {}, h("th", { scope: "row" }, `${first + k} `, token(text.pieces[first + k])), bar(effects[k]), bar(slopes[k])))),
      note("Replaced: how far log p of the prediction falls, in nats, when three other tokens stand in this one's place, on average; they are the most frequent of this text. Gradient: the same change by the straight line through the model's gradient, which fades with distance even where tokens matter."),
    ];
  },

  compare(page) {
    const { text, facts } = page, seen = text.pieces.map((_, k) => k).filter((k) => text.bits(k) !== null);
    if (!seen.length) return [say("One token: there is nothing to compare yet.")];
    const sides = [
      { label: facts.cell, bits: (k) => text.bits(k) },
      ...(page.beside ? [{ label: page.beside.label, bits: (k) => page.beside.bits(k) }] : []),
      { label: `${facts.cell} without a past`, bits: (k) => text.alone(k) },
    ];
    const mean = ({ bits }) => seen.reduce((sum, k) => sum + bits(k), 0) / seen.length;
    const other = sides[1], gain = (k) => other.bits(k) - text.bits(k);
    const top = [...seen].sort((a, b) => gain(b) - gain(a)).slice(0, 6);
    const most = Math.max(...sides.flatMap(({ bits }) => seen.map(bits)), 1);
    const strip = ({ label, bits }) => h("figure", { class: "side" }, h("figcaption", {}, `${label}: ${brief(mean({ bits }))} bits a token`),
      h("p", { class: "strip", dir: "auto" }, text.pieces.flatMap((piece, k) => [h("span", { style: bits(k) === null ? "" : painted(surprise(bits(k) / most)) }, piece === "\n" ? "⏎" : piece), piece === "\n" ? h("br", {}) : facts.exact ? "" : " "])));
    const better = lack(mean(other), mean(sides[0]));
    return [
      say(`Here the ${facts.cell} needs ${brief(mean(sides[0]))} bits a token, ${other.label === facts.cell ? "the other" : other.label} ${brief(mean(other))}: `, better >= 0 ? `${brief(better)} fewer.` : `${brief(-better)} more.`),
      ...sides.map(strip),
      note("The more amber, the more surprised; one scale for all. “Without a past” is the same model with its states set to 0 before every token: what it knows from one token alone."),
      ...howFarBack([{ label: facts.cell, past: text.past(), mean: mean(sides[0]) },
        ...(page.beside ? [{ label: page.beside.label, past: page.beside.past(), mean: mean(sides[1]) }] : [])]),
      table(`Where the ${facts.cell} gains most on ${other.label}`, ["token", ...sides.map(({ label }) => label), "gain, bits"],
        top.map((k) => h("tr", {}, h("th", { scope: "row" }, h("button", { type: "button", onclick: () => page.go({ t: k }) }, `${k} `, token(text.pieces[k]))), sides.map(({ bits }) => cell(brief(bits(k)))), cell(brief(lack(other.bits(k), text.bits(k))))))),
      page.beside ? null : note(facts.invite),
    ];
  },
};
