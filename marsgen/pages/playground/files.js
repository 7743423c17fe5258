// Files for the user: PNG without loss of a value, json, and their download.

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function checksum(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function chunk(kind, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(kind), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, checksum(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

// (H, W, channels) bytes, 1 or 3 channels -> a PNG file; a canvas would make colours of it
export async function encodePng(pixels, height, width, channels) {
  const row = width * channels;
  const raw = new Uint8Array(height * (row + 1));
  for (let y = 0; y < height; y++) raw.set(pixels.subarray(y * row, (y + 1) * row), y * (row + 1) + 1);
  const packed = new Response(new Blob([raw]).stream().pipeThrough(new CompressionStream("deflate")));
  const head = new Uint8Array(13);
  new DataView(head.buffer).setUint32(0, width);
  new DataView(head.buffer).setUint32(4, height);
  head.set([8, channels === 1 ? 0 : 2], 8);
  const parts = [
    Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10),
    chunk("IHDR", head),
    chunk("IDAT", new Uint8Array(await packed.arrayBuffer())),
    chunk("IEND", new Uint8Array(0)),
  ];
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

// (H, W, channels) bytes -> a .npy file, for more bands than a PNG holds
export function encodeNpy(pixels, height, width, channels) {
  const text = `{'descr': '|u1', 'fortran_order': False, 'shape': (${height}, ${width}, ${channels}), }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64;
  const bytes = new Uint8Array(length + pixels.length).fill(32, 0, length);
  bytes.set([147, 78, 85, 77, 80, 89, 1, 0, (length - 10) & 255, (length - 10) >> 8]);
  bytes.set(new TextEncoder().encode(text), 10);
  bytes[length - 1] = 10;
  bytes.set(pixels, length);
  return bytes;
}

// {name: bytes} -> a zip file, its members stored as they are: browsers refuse a second download at once
export function zip(members) {
  const [heads, directory] = [[], []];
  let [offset, size] = [0, 0];
  const numbers = (pairs) => {
    const bytes = new Uint8Array(pairs.reduce((sum, [width]) => sum + width, 0));
    const view = new DataView(bytes.buffer);
    let at = 0;
    for (const [width, value] of pairs) {
      if (width === 2) view.setUint16(at, value, true);
      else view.setUint32(at, value, true);
      at += width;
    }
    return bytes;
  };
  const [version, utf8, midnight1980] = [20, 0x800, 0x210000];
  for (const [name, content] of Object.entries(members)) {
    const path = new TextEncoder().encode(name);
    const both = [[2, version], [2, utf8], [2, 0], [4, midnight1980], [4, checksum(content)], [4, content.length], [4, content.length], [2, path.length], [2, 0]];
    const head = [numbers([[4, 0x04034b50], ...both]), path, content];
    const entry = [numbers([[4, 0x02014b50], [2, version], ...both, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), path];
    heads.push(...head);
    directory.push(...entry);
    offset += head.reduce((sum, part) => sum + part.length, 0);
    size += entry.reduce((sum, part) => sum + part.length, 0);
  }
  const count = Object.keys(members).length;
  const end = numbers([[4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, offset], [2, 0]]);
  return new Blob([...heads, ...directory, end], { type: "application/zip" });
}

export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export async function bytesOf(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status} ${answer.statusText}`);
  return new Uint8Array(await answer.arrayBuffer());
}
