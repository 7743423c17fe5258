// The two networks, run by onnxruntime-web: a generator that draws, a segmenter that labels what was drawn.
import * as ort from "./ort/ort.wasm.min.mjs";
import { normals, uniform } from "./noise.js";

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.logLevel = "error";

const tensor = (values, ...sides) => new ort.Tensor(values, sides);

// (H, W, channels) bytes -> (1, channels, H, W) floats in [-1, 1]
function imageTensor(pixels, height, width, channels) {
  const plane = height * width;
  const values = new Float32Array(plane * channels);
  for (let i = 0; i < plane; i++) for (let c = 0; c < channels; c++) values[c * plane + i] = pixels[i * channels + c] / 127.5 - 1;
  return tensor(values, 1, channels, height, width);
}

// (1, channels, H, W) floats in [-1, 1] -> (H, W, channels) bytes
function imageBytes(values, height, width, channels) {
  const plane = height * width;
  const pixels = new Uint8ClampedArray(plane * channels); // rounds half to even, as torch does
  for (let i = 0; i < plane; i++) for (let c = 0; c < channels; c++) pixels[i * channels + c] = (values[c * plane + i] + 1) * 127.5;
  return new Uint8Array(pixels.buffer);
}

export async function openNetworks(page) {
  const open = (name) => ort.InferenceSession.create(`models/${name}.onnx`, { executionProviders: ["wasm"] });
  const generator = await open("generator");
  const segmenter = page.segmenter ? await open("segmenter") : null;
  const channels = page.channels;

  // pixels (H, W, channels), indices (H, W), mask (H, W) in [0, 1] times the strength -> drawn pixels
  async function draw(pixels, indices, mask, height, width, seed) {
    const [rows, columns] = [Math.ceil(height / 8), Math.ceil(width / 8)];
    const noise = normals(seed);
    const random = (...sides) => tensor(noise(sides.reduce((a, b) => a * b)), ...sides);
    const { drawn } = await generator.run({
      images: imageTensor(pixels, height, width, channels),
      labels: tensor(Int32Array.from(indices), 1, height, width),
      inpainting_mask: tensor(mask, 1, 1, height, width),
      choice: tensor(Float32Array.of(uniform(seed)), 1),
      whole: random(1, 8),
      fine: random(1, 4, 4 * rows, 4 * columns),
      middle: random(1, 1, 2 * rows, 2 * columns),
      coarse: random(1, 1, rows, columns),
    });
    return imageBytes(drawn.data, height, width, channels);
  }

  // pixels (H, W, channels) -> class indices (H, W), in the generator's order of classes
  async function segment(pixels, height, width) {
    const { probs } = await segmenter.run({ images: imageTensor(pixels, height, width, channels) });
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
  return { draw, segment: segmenter && segment };
}
