// Rounded weights: signs to bits, bits to whole numbers. inspect/walk/pack.py makes what is read here.

const ONE_BYTE = Array.from({ length: 95 }, (_, k) => String.fromCharCode(32 + k)).filter((c) => !'"<\\'.includes(c)).join("");
const TWO = 0xa0, TWOS = 0x800 - TWO, THREE = 0x3400;

/** Signs of 7, 13 and 19 bits to bytes. */
function bytesOf(text) {
  const value = new Uint8Array(128), edge = ONE_BYTE.length << 6;
  for (let k = 0; k < ONE_BYTE.length; k++) value[ONE_BYTE.charCodeAt(k)] = k;
  const made = new Uint8Array(Math.ceil((19 * text.length) / 8));
  let held = 0, bits = 0, at = 0;
  for (let k = 0; k < text.length; k++) {
    const c = text.charCodeAt(k);
    if (c < 0x80) { held = (held << 7) | value[c]; bits += 7; }
    else if (c < 0x800) { held = (held << 13) | (edge + c - TWO); bits += 13; }
    else { held = (held << 19) | (((edge + TWOS) << 6) + c - THREE); bits += 19; }
    for (; bits >= 8; bits -= 8) made[at++] = held >>> (bits - 8);
    held &= (1 << bits) - 1;
  }
  return made.subarray(0, at);
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Int8Array(await new Response(stream).arrayBuffer());
}

/** The whole numbers: high parts that were deflated, low bits that stand as they are. */
async function unpacked({ parts, deflated, text }) {
  const bytes = bytesOf(text), high = await inflated(bytes.subarray(0, deflated));
  const whole = new Int32Array(high.length);
  let k = 0, start = deflated;
  for (const [count, low] of parts) {
    const mask = 2 ** low - 1, end = k + count;
    for (let bit = 8 * start; k < end; k++, bit += low) {
      const at = bit >> 3, shift = 24 - low - (bit & 7);
      const three = (bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2];
      whole[k] = high[k] * 2 ** low + ((three >> shift) & mask);
    }
    start += Math.ceil((count * low) / 8);
  }
  return whole;
}

/** What takes a place on the page, and gives the numbers there. */
function placesOf(floats, whole, parts) {
  return ([start, size, part]) => (part === undefined
    ? floats.subarray(start, start + size)
    : Float32Array.from(whole.subarray(start, start + size), (k) => k * parts[part][2]));
}
