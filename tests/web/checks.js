// What a page must have so that everybody can use it; returns what is wrong with it.
(() => {
  const wrong = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const seen = (e) => e.getClientRects().length > 0 && getComputedStyle(e).visibility !== "hidden";
  const name = (e) =>
    e.getAttribute("aria-label") ||
    (e.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id)?.textContent || "").join("") ||
    e.textContent.trim();
  const told = (e) => `<${e.tagName.toLowerCase()} id="${e.id}" class="${e.getAttribute("class") || ""}"> ${e.textContent.trim().slice(0, 40)}`;

  if (!document.documentElement.lang) wrong.push("no language");
  if (!document.title.trim()) wrong.push("no title");
  if (all("h1").length !== 1) wrong.push("not one h1");
  if (all("main").length !== 1) wrong.push("not one main");
  let level = 0;
  for (const e of all("h1, h2, h3, h4, h5, h6").filter(seen)) {
    const own = Number(e.tagName[1]);
    if (own > level + 1) wrong.push(`a heading skips a level: ${told(e)}`);
    level = own;
  }
  const ids = all("[id]").map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`id twice: ${id}`);
  for (const attribute of ["aria-labelledby", "aria-activedescendant", "aria-describedby", "aria-controls", "for"]) {
    for (const e of all(`[${attribute}]`)) {
      for (const id of e.getAttribute(attribute).split(" ")) if (!document.getElementById(id)) wrong.push(`${attribute} names nothing: ${told(e)}`);
    }
  }
  for (const e of all("button, a[href], summary, [role=region], [role=listbox], [role=option], [role=img], [role=group], nav, aside, section")) {
    if (!name(e)) wrong.push(`without a name: ${told(e)}`);
  }
  for (const e of all("svg").filter(seen)) if (!(e.getAttribute("role") === "img" && name(e)) && e.getAttribute("aria-hidden") !== "true") wrong.push(`a picture without words: ${told(e)}`);
  for (const e of all("input, select, textarea")) if (!e.labels.length && !e.getAttribute("aria-label")) wrong.push(`no label: ${told(e)}`);
  for (const e of all("[tabindex]")) if (Number(e.getAttribute("tabindex")) > 0) wrong.push(`its own tab order: ${told(e)}`);
  for (const e of all("[role=option]")) if (!e.closest("[role=listbox]")) wrong.push(`an option outside of a list: ${told(e)}`);
  for (const e of all("table")) {
    if (!e.caption) wrong.push(`a table without a caption: ${told(e)}`);
    for (const cell of e.querySelectorAll("th")) if (!cell.scope) wrong.push(`a head without its direction: ${told(cell)}`);
  }
  for (const e of all("ol, ul")) for (const child of e.children) if (child.tagName !== "LI") wrong.push(`no item of a list: ${told(child)}`);
  for (const e of all("button, input, select, #steps a").filter(seen)) {
    const { width, height } = e.getBoundingClientRect();
    if (width < 24 || height < 24) wrong.push(`too small to hit: ${told(e)}`);
  }

  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((x, k) => x * a + below[k] * (1 - a));
  const paper = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) layers.unshift(rgba(getComputedStyle(at).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((x) => ((x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || !seen(e) || e.closest("script, style, .unseen, [aria-disabled], option")) continue;
    const style = getComputedStyle(e), below = paper(e);
    const ink = over(rgba(e.closest("svg") ? style.fill : style.color), below);
    const [high, low] = [light(ink), light(below)].sort((a, b) => b - a);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) wrong.push(`contrast ${contrast.toFixed(2)}: ${told(e)}`);
  }
  if (document.documentElement.scrollWidth > innerWidth) wrong.push(`wider than the window: ${document.documentElement.scrollWidth}`);
  return [...new Set(wrong)];
})()
