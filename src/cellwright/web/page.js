// What the scripts of the pages share: elements, numbers, colours, tokens, bytes.

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";
const DARK = matchMedia("(prefers-color-scheme: dark)");
const LIGHTS = { none: [247, 247, 244], gate: [0, 105, 92], less: [33, 102, 172], more: [190, 84, 0], surprise: [214, 137, 0] };
const DARKS = { none: [38, 43, 46], gate: [95, 201, 181], less: [111, 177, 236], more: [242, 142, 60], surprise: [240, 175, 50] };

/** Make an element: attributes, `on...` listeners, children that are nodes, texts or null. */
function h(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

/** Few decimals, and never a minus before nothing. */
const brief = (v, digits = 2) => v.toFixed(digits).replace(/^-(0\.?0*)$/, "$1").replace("-", "−");

const hue = (name) => (DARK.matches ? DARKS : LIGHTS)[name];

const mix = (a, b, share) => a.map((x, k) => Math.round(x + (b[k] - x) * Math.min(1, Math.max(0, share))));

/** From blue (-1) over nothing to orange (1). */
const signedHue = (share) => mix(hue("none"), hue(share < 0 ? "less" : "more"), Math.abs(share));

/** A background and whichever of black and white is easier to read on it. */
function painted(rgb) {
  const [r, g, b] = rgb.map((x) => ((x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return `background:rgb(${rgb.join(" ")});color:${light > 0.179 ? "#000" : "#fff"}`;
}

/** A token as it can be told from nothing: blanks have signs, a lone accent has a circle. */
function shown(piece) {
  const signs = { "\n": "⏎", " ": "␣", "\t": "⇥", "": "…" };
  if (piece in signs) return signs[piece];
  return /^\p{M}/u.test(piece) ? `◌${piece}` : piece;
}

/** Base 85, five signs for four bytes, the first byte the highest. */
function decodeWords(text) {
  const value = new Uint8Array(128);
  for (let k = 0; k < DIGITS.length; k++) value[DIGITS.charCodeAt(k)] = k;
  const words = Math.floor(text.length / 5), view = new DataView(new ArrayBuffer(4 * words));
  for (let w = 0, at = 0; w < words; w++) {
    let word = 0;
    for (let k = 0; k < 5; k++) word = word * 85 + value[text.charCodeAt(at++)];
    view.setUint32(4 * w, word);
  }
  return view;
}
