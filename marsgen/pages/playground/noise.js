// Noise from a seed: the same seed gives the same picture in every browser. It is not the noise of numpy.

// mulberry32: numbers in [0, 1)
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const uniform = (seed) => generator(seed ^ 0x9e3779b9)();

// a function count -> that many normal numbers (Box and Muller 1958)
export function normals(seed) {
  const random = generator(seed);
  return (count) => {
    const values = new Float32Array(count);
    for (let i = 0; i < count; i += 2) {
      const size = Math.sqrt(-2 * Math.log(1 - random()));
      const angle = 2 * Math.PI * random();
      values[i] = size * Math.cos(angle);
      if (i + 1 < count) values[i + 1] = size * Math.sin(angle);
    }
    return values;
  };
}
