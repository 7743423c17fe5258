// Networks and pictures for onnxruntime-web.
import * as ort from "./ort/ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.logLevel = "error";

export const open = (name) => ort.InferenceSession.create(`models/${name}.onnx`, { executionProviders: ["wasm"] });
export const tensor = (values, ...sides) => new ort.Tensor(values, sides);

// (H, W, channels) bytes -> (channels, H, W) floats in [-1, 1]
export function imageValues(pixels, height, width, channels) {
  const plane = height * width;
  const values = new Float32Array(plane * channels);
  for (let i = 0; i < plane; i++) for (let c = 0; c < channels; c++) values[c * plane + i] = pixels[i * channels + c] / 127.5 - 1;
  return values;
}

// the same as a tensor (1, channels, H, W)
export const imageTensor = (pixels, height, width, channels) => tensor(imageValues(pixels, height, width, channels), 1, channels, height, width);

// (1, channels, H, W) floats in [-1, 1] -> (H, W, channels) bytes
export function imageBytes(values, height, width, channels) {
  const plane = height * width;
  const pixels = new Uint8ClampedArray(plane * channels); // rounds half to even, as torch does
  for (let i = 0; i < plane; i++) for (let c = 0; c < channels; c++) pixels[i * channels + c] = (values[c * plane + i] + 1) * 127.5;
  return new Uint8Array(pixels.buffer);
}
