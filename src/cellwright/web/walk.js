// Begin: decode the model, check it against PyTorch's numbers, and listen.

/** Say how far the page's own logits are from PyTorch's, and whether it may be trusted. */
function sayLive(facts, worst) {
  const live = document.getElementById("live"), small = (v) => v.toExponential(1).replace("-", "−");
  const sure = worst < 1e-3;
  const coarsest = facts.rounded && Math.max(...facts.rounded.parts.map(([, , step]) => step));
  const weights = facts.rounded ? `, with its weights rounded to multiples of at most ${small(coarsest)} so that they fit` : "";
  const typed = facts.rounded && facts.level !== "bpe" ? " on the text that it was made with; what you type cannot be checked" : "";
  live.dataset.difference = worst;
  live.className = sure ? "good" : "warning";
  live.textContent = sure
    ? `Live: this page computes the model itself${weights}. Its logits differ from PyTorch's by ${small(worst)} at the most${typed}.`
    : `Do not trust this page: its logits differ from PyTorch's by ${small(worst)}. Please report it, with your browser's name.`;
}

/** Let the reader type another text; `read` makes what the page shows of it. */
function letType(page, facts, read) {
  page.retype = (typed) => {
    const tokens = tokenize(typed, { level: facts.level, vocab: facts.names });
    if (!tokens.ids.length) return false;
    page.typed = typed;
    read(tokens);
    page.scales = undefined;
    page.unknown = tokens.ids.filter((id) => id === 0).length;
    page.cut = tokens.cut;
    return true;
  };
  page.form = () => h("form", {
    class: "retype", onsubmit: (event) => {
      event.preventDefault();
      if (page.retype(event.target.elements.typed.value)) page.go({ t: 0 });
      document.getElementById("typed")?.focus();
    },
  },
  h("label", { for: "typed" }, "Another text for the model to read"),
  h("textarea", { id: "typed", name: "typed", rows: "3", dir: "auto", spellcheck: "false" }, page.typed ?? facts.source),
  page.cut ? note(`Only the first ${MOST_TOKENS} tokens are read; ${page.cut} are left out.`) : null,
  h("button", { type: "submit", class: "main" }, "Read it"));
}

function begin(facts, floats, whole) {
  const at = placesOf(floats, whole, facts.rounded?.parts);
  const model = facts.model && new Model({ ...facts.model, graph: facts.graph }, at);
  const began = model ? new LiveText(model, facts.text) : new StoredText(facts, floats);
  const page = new Page({ ...facts, nodes: facts.graph.nodes, states: facts.graph.states, output: facts.graph.output }, began);
  page.unknown = facts.unknown;
  if (model) {
    sayLive(facts, selfCheck(began, facts.check, floats));
    const beside = facts.versus && new Model({ ...facts.versus.model, graph: facts.versus.graph }, at);
    const other = (text) => beside && Object.assign(new LiveText(beside, text), { label: facts.versus.label });
    page.beside = other(facts.text);
    if (facts.level !== "bpe") {
      letType(page, facts, (tokens) => {
        page.text = new LiveText(model, tokens);
        page.beside = other(tokens);
      });
    }
  } else {
    document.getElementById("live").textContent = facts.why;
    const { versus } = facts;
    page.beside = versus && { label: versus.label, bits: (k) => versus.bits[k], past: () => versus.past };
  }
  listen(page);
  page.follow();
  globalThis.walkthrough = page; // for those who look on in the console
  document.documentElement.dataset.ready = "true";
}

function listen(page) {
  document.getElementById("back-token").addEventListener("click", () => page.go({ t: page.at.t - 1 }));
  document.getElementById("next-token").addEventListener("click", () => page.go({ t: page.at.t + 1 }));
  document.getElementById("unit").addEventListener("change", (event) => page.go({ unit: event.target.value }));
  document.getElementById("layer")?.addEventListener("change", (event) => page.go({ layer: event.target.value }));
  document.getElementById("steps").addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    event.preventDefault();
    page.go({ step: Number(link.dataset.step) });
  });
  document.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const typing = event.target.closest("input, textarea, select");
    if (!by || typing || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    page.go({ t: page.at.t + by });
  });
  addEventListener("hashchange", () => page.follow());
  for (const media of [DARK, NARROW]) media.addEventListener("change", () => page.show());
}

const facts = json("facts"), floats = decodeFloats(document.getElementById("floats").textContent);
if (!facts.rounded) begin(facts, floats);
else if (!globalThis.DecompressionStream) document.getElementById("live").textContent = "This browser is too old for this page: it cannot unpack the weights.";
else unpacked(facts.rounded).then((whole) => begin(facts, floats, whole));
