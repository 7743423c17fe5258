// A diffusion generator: its denoiser is called once a step, and the steps are taken here. Written after OnnxDiffusion in
// marsgen/generators/diffusion/export.py, where the shapes of the networks' inputs stand.
import { normals, uniform } from "./noise.js";
import { imageBytes, imageValues, open, tensor } from "./tensors.js";

const IGNORED = 255;
const clip = (value, most) => Math.min(Math.max(value, -most), most);
const twice = (values) => {
  const both = new values.constructor(2 * values.length);
  both.set(values);
  both.set(values, values.length);
  return both;
};

// fractions of noise from `strength` down to 0; fewer steps for less noise
function noiseLevels({ steps, most_noise }, strength) {
  const count = Math.max(1, Math.ceil(steps * strength));
  return Array.from({ length: count + 1 }, (_, i) => Math.fround((Math.min(strength, most_noise) * (count - i)) / count));
}

// the weights of a step: of the picture so far, of its clean picture, and of the clean picture of the step before
// (DPM-Solver++ of second order, the first and the last step of first)
function stepWeights(levels, step) {
  const signal = (level) => (level ? Math.log((1 - level) / level) : Infinity);
  const [level, next] = [levels[step], levels[step + 1]];
  const gain = (1 - next) * -Math.expm1(signal(level) - signal(next));
  const inside = step > 0 && step < levels.length - 2;
  const back = inside ? (0.5 * (signal(next) - signal(level))) / (signal(level) - signal(levels[step - 1])) : 0;
  return [next / level, gain * (1 + back), -gain * back];
}

export async function openDiffusion(described) {
  const [denoiser, styler] = [await open("generator"), await open("style")];
  const { channels, stride, farthest } = described;

  return async (pixels, indices, mask, height, width, { seed, strength, guidance, stale }) => {
    const [rows, columns] = [height, width].map((side) => Math.ceil(side / stride) * stride);
    const [plane, padded] = [height * width, rows * columns];
    const images = imageValues(pixels, height, width, channels);
    const { style } = await styler.run({
      images: tensor(images, 1, channels, height, width),
      labels: tensor(Int32Array.from(indices), 1, height, width),
      inpainting_mask: tensor(mask, 1, 1, height, width),
      choice: tensor(Float32Array.of(strength === 1 ? uniform(seed) : -1), 1),
    });
    const mean = (c) => style.data[c];
    const spread = (c) => style.data[channels + c];

    // normalised, and with both sides a multiple of the stride: the edge is repeated, without labels, and kept
    const pictures = new Float32Array(channels * padded);
    const [labels, inside] = [new Int32Array(padded).fill(IGNORED), new Float32Array(padded)];
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const at = y * columns + x;
        const from = Math.min(y, height - 1) * width + Math.min(x, width - 1);
        if (y < height && x < width) [labels[at], inside[at]] = [indices[from], mask[from]];
        for (let c = 0; c < channels; c++) pictures[c * padded + at] = clip((images[c * plane + from] - mean(c)) / spread(c), farthest);
      }
    }

    const copies = guidance === 1 ? 1 : 2; // with the label map, and without it
    const copied = (values, ...sides) => tensor(copies === 2 ? twice(values) : values, copies, ...sides);
    const given = {
      labels: copied(labels, rows, columns),
      known: tensor(Float32Array.of(1, 0).slice(0, copies), copies),
      pictures: copied(pictures, channels, rows, columns),
      inpainting_mask: copied(inside, 1, rows, columns),
      style: copied(Float32Array.from(style.data), 3 * channels),
    };
    const noise = normals(seed)(channels * padded);
    const levels = noiseLevels(described, strength);
    let x = pictures.map((value, i) => value + levels[0] * (noise[i] - value));
    let before = new Float32Array(x.length);
    for (let step = 0; step < levels.length - 1; step++) {
      const [level, next] = [levels[step], levels[step + 1]];
      const [now, clean, earlier] = stepWeights(levels, step);
      const time = tensor(new Float32Array(copies).fill(level), copies);
      const { velocity } = await denoiser.run({ noisy: copied(x, channels, rows, columns), time, ...given });
      const following = new Float32Array(x.length);
      const predicted = new Float32Array(x.length);
      for (let i = 0; i < x.length; i++) {
        const without = copies === 2 ? velocity.data[x.length + i] : 0;
        const moved = copies === 2 ? without + guidance * (velocity.data[i] - without) : velocity.data[i];
        predicted[i] = x[i] - level * moved;
        const kept = pictures[i] + next * (noise[i] - pictures[i]);
        following[i] = kept + inside[i % padded] * (now * x[i] + clean * predicted[i] + earlier * before[i] - kept);
      }
      [x, before] = [following, predicted];
      await new Promise((resume) => setTimeout(resume)); // strokes that came meanwhile
      if (stale?.()) return null;
    }

    const drawn = new Float32Array(channels * plane);
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < plane; i++) {
        const value = clip(x[c * padded + Math.floor(i / width) * columns + (i % width)] * spread(c) + mean(c), 1);
        drawn[c * plane + i] = images[c * plane + i] + mask[i] * (value - images[c * plane + i]);
      }
    }
    return imageBytes(drawn, height, width, channels);
  };
}
