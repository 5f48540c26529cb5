// Begin: decode the model, check it against PyTorch's numbers, and listen.

const facts = json("facts"), floats = decodeFloats(document.getElementById("floats").textContent);
const live = document.getElementById("live");
const model = facts.model && new Model({ ...facts.model, graph: facts.graph }, floats);
const began = model ? new LiveText(model, facts.text) : new StoredText(facts, floats);
const page = new Page({ ...facts, nodes: facts.graph.nodes, states: facts.graph.states, output: facts.graph.output }, began);
page.unknown = facts.unknown;

if (model) {
  const worst = selfCheck(began, facts.check, floats), said = worst.toExponential(1).replace("-", "−");
  const sure = worst < 1e-3;
  live.dataset.difference = worst;
  live.className = sure ? "good" : "warning";
  live.textContent = sure
    ? `Live: this page computes the model itself. Its logits differ from PyTorch's by ${said} at the most.`
    : `Do not trust this page: its logits differ from PyTorch's by ${said}. Please report it, with your browser's name.`;
  const beside = facts.versus && new Model({ ...facts.versus.model, graph: facts.versus.graph }, floats);
  const other = (text) => beside && Object.assign(new LiveText(beside, text), { label: facts.versus.label });
  page.beside = other(facts.text);
  if (facts.level !== "bpe") {
    page.retype = (typed) => {
      const read = tokenize(typed, { level: facts.level, vocab: facts.names });
      if (!read.ids.length) return false;
      page.typed = typed;
      page.text = new LiveText(model, read);
      page.beside = other(read);
      page.scales = undefined;
      page.unknown = read.ids.filter((id) => id === 0).length;
      page.cut = read.cut;
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
} else {
  live.textContent = facts.why;
  page.beside = facts.versus && { label: facts.versus.label, bits: (k) => facts.versus.bits[k] };
}

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
page.follow();
globalThis.walkthrough = page; // for those who look on in the console
document.documentElement.dataset.ready = "true";
