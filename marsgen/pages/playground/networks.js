// The networks of the page: a generator that draws, a segmenter that labels what was drawn.
import { openDiffusion } from "./diffusion.js";
import { normals, uniform } from "./noise.js";
import { imageBytes, imageTensor, open, tensor } from "./tensors.js";

const OPENERS = { pix2pix: openPix2Pix, diffusion: openDiffusion };

// A generator draws: pixels (H, W, channels), indices (H, W), mask (H, W) in [0, 1], {seed, strength, guidance, stale}
// -> drawn pixels (H, W, channels); null where stale() said on the way that nobody waits for them any more
async function openPix2Pix({ channels, stride }) {
  const generator = await open("generator");
  return async (pixels, indices, mask, height, width, { seed, strength }) => {
    const [rows, columns] = [Math.ceil(height / stride), Math.ceil(width / stride)];
    const noise = normals(seed);
    const random = (...sides) => tensor(noise(sides.reduce((a, b) => a * b)), ...sides);
    const { drawn } = await generator.run({
      images: imageTensor(pixels, height, width, channels),
      labels: tensor(Int32Array.from(indices), 1, height, width),
      inpainting_mask: tensor(mask.map((value) => value * strength), 1, 1, height, width),
      choice: tensor(Float32Array.of(uniform(seed)), 1),
      whole: random(1, 8),
      fine: random(1, 4, 4 * rows, 4 * columns),
      middle: random(1, 1, 2 * rows, 2 * columns),
      coarse: random(1, 1, rows, columns),
    });
    return imageBytes(drawn.data, height, width, channels);
  };
}

export async function openNetworks(page) {
  const answer = await fetch("models/generator.json");
  if (!answer.ok) throw new Error(`models/generator.json: ${answer.status} ${answer.statusText}`);
  const generator = await answer.json();
  const draw = await OPENERS[generator.generator](generator);
  const segmenter = page.segmenter ? await open("segmenter") : null;

  // pixels (H, W, channels) -> class indices (H, W), in the generator's order of classes
  async function segment(pixels, height, width) {
    const { probs } = await segmenter.run({ images: imageTensor(pixels, height, width, page.channels) });
    const plane = height * width;
    const found = new Uint8Array(plane);
    const best = new Float32Array(plane).fill(-1);
    page.segmenter.order.forEach((theirs, ours) => {
      for (let i = 0; i < plane; i++) {
        const value = probs.data[theirs * plane + i];
        if (value > best[i]) [best[i], found[i]] = [value, ours];
      }
    });
    return found;
  }
  return { generator, draw, segment: segmenter && segment };
}
