// The tab Paint: a real scene, its label map to paint in, and the picture drawn for the map as it is painted.
import { bytesOf } from "./files.js";
import { say } from "./page.js";
import { openSaving } from "./save.js";

const IGNORED = 255;
const SOFT_EDGE_PX = 2; // as `soft_edge_px` of marsgen synthesize
const UNDO_DEPTH = 50;
const $ = (id) => document.getElementById(id);

// distance in px to the nearest changed pixel, up to `most`, by sides and diagonals
function distances(changed, height, width, most) {
  const found = new Float32Array(changed.length).fill(most + 1);
  for (let i = 0; i < changed.length; i++) if (changed[i]) found[i] = 0;
  const reach = Math.ceil(most);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!changed[y * width + x]) continue;
      for (let dy = -reach; dy <= reach; dy++) {
        for (let dx = -reach; dx <= reach; dx++) {
          const [v, u] = [y + dy, x + dx];
          if (v < 0 || u < 0 || v >= height || u >= width) continue;
          const at = v * width + u;
          found[at] = Math.min(found[at], Math.hypot(dx, dy));
        }
      }
    }
  }
  return found;
}

export async function openPaint(page, networks) {
  const classes = page.classes.classes;
  const channels = page.channels;
  const shown = channels === 1 ? [0, 0, 0] : page.bands.length ? page.bands.map((band) => band - 1) : [0, 1, 2];
  const state = { tool: "brush", cls: 0, size: 8, region: 0, polygon: [], undo: [], scene: null };
  let [running, waiting, stroke] = [false, false, null];

  // scenes
  for (const [number, scene] of page.scenes.entries()) $("scene").add(new Option(scene.name, number));
  async function openScene(number) {
    const scene = page.scenes[number];
    const bytes = await bytesOf(`data/${scene.file}`);
    const plane = scene.height * scene.width;
    const real = { pixels: bytes.slice(0, plane * channels), indices: bytes.slice(plane * channels) };
    Object.assign(state, { scene, real, pixels: real.pixels.slice(), indices: real.indices.slice(), undo: [], polygon: [] });
    state.stamped = new Uint16Array(plane); // 1 + number of the region that was stamped there
    for (const id of ["edit", "drawn", "opinion"]) Object.assign($(id), { width: scene.width, height: scene.height });
    state.drawn = state.pixels;
    refresh();
  }
  $("scene").addEventListener("change", () => openScene(Number($("scene").value)).catch(failed));

  // classes, regions, tools
  const paintable = [...classes.map((c, index) => ({ ...c, index })), { name: "no label", colour: [32, 32, 32], index: IGNORED }];
  for (const [number, c] of paintable.entries()) {
    const button = document.createElement("button");
    button.setAttribute("role", "radio");
    button.innerHTML = `<span class="swatch" style="background: rgb(${c.colour.join()})"></span>`;
    button.append(number < 9 ? `${number + 1} ${c.name}` : c.name);
    button.dataset.index = c.index;
    button.addEventListener("click", () => choose("cls", c.index));
    $("classes").append(button);
  }
  const regions = await Promise.all(
    page.regions.map(async (region, number) => {
      const button = document.createElement("button");
      $("stamps").append(button); // before its file is there: buttons stand in the order of regions
      const bytes = await bytesOf(`data/${region.file}`);
      const plane = region.height * region.width;
      const [pixels, mask] = [bytes.slice(0, plane * channels), bytes.slice(plane * channels)];
      const canvas = Object.assign(document.createElement("canvas"), { width: region.width, height: region.height });
      const picture = new ImageData(region.width, region.height);
      for (let i = 0; i < plane; i++) {
        for (let c = 0; c < 3; c++) picture.data[4 * i + c] = pixels[i * channels + shown[c]];
        picture.data[4 * i + 3] = mask[i] ? 255 : 40;
      }
      canvas.getContext("2d").putImageData(picture, 0, 0);
      button.setAttribute("role", "radio");
      button.title = `${classes[region.class].name} of ${region.donor}`;
      button.append(canvas);
      button.addEventListener("click", () => choose("region", number));
      return { ...region, pixels, mask };
    }),
  );
  document.querySelector("[data-tool=stamp]").hidden = !regions.length;

  function choose(key, value) {
    state[key] = value;
    state.polygon = [];
    for (const button of $("tools").children) button.setAttribute("aria-pressed", button.dataset.tool === state.tool);
    for (const button of $("classes").children) button.setAttribute("aria-checked", Number(button.dataset.index) === state.cls);
    [...$("stamps").children].forEach((button, number) => button.setAttribute("aria-checked", number === state.region));
    $("stamps").hidden = state.tool !== "stamp";
    $("size").value = state.size;
    $("size-px").textContent = `${state.size} px`;
    if (state.scene) showEdit();
  }
  for (const button of $("tools").children) button.addEventListener("click", () => choose("tool", button.dataset.tool));
  $("size").addEventListener("input", () => choose("size", Number($("size").value)));

  // editing
  const keep = () => {
    state.undo.push({ pixels: state.pixels.slice(), indices: state.indices.slice(), stamped: state.stamped.slice() });
    if (state.undo.length > UNDO_DEPTH) state.undo.shift();
  };
  function undo() {
    const before = state.undo.pop();
    if (before) Object.assign(state, before);
    refresh();
  }
  function set(at, index) {
    state.indices[at] = index;
    if (state.tool !== "restore") return;
    state.indices[at] = state.real.indices[at];
    state.stamped[at] = 0;
    for (let c = 0; c < channels; c++) state.pixels[at * channels + c] = state.real.pixels[at * channels + c];
  }
  function dab(x, y) {
    const { width, height } = state.scene;
    const radius = state.size / 2;
    for (let v = Math.max(0, Math.floor(y - radius)); v <= Math.min(height - 1, Math.ceil(y + radius)); v++) {
      for (let u = Math.max(0, Math.floor(x - radius)); u <= Math.min(width - 1, Math.ceil(x + radius)); u++) {
        if (Math.hypot(u + 0.5 - x, v + 0.5 - y) <= radius || (u === Math.floor(x) && v === Math.floor(y))) set(v * width + u, state.cls);
      }
    }
  }
  function line(from, to) {
    const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y)));
    for (let i = 1; i <= steps; i++) dab(from.x + ((to.x - from.x) * i) / steps, from.y + ((to.y - from.y) * i) / steps);
  }
  function fill(x, y) {
    const { width, height } = state.scene;
    const first = Math.floor(y) * width + Math.floor(x);
    const from = state.indices[first];
    const seen = new Uint8Array(state.indices.length);
    const stack = [first];
    while (stack.length) {
      const at = stack.pop();
      if (seen[at] || state.indices[at] !== from) continue;
      seen[at] = 1;
      const column = at % width;
      if (column > 0) stack.push(at - 1);
      if (column < width - 1) stack.push(at + 1);
      if (at >= width) stack.push(at - width);
      if (at < width * (height - 1)) stack.push(at + width);
    }
    seen.forEach((inside, at) => inside && set(at, state.cls));
  }
  function stamp(x, y) {
    const region = regions[state.region];
    const { width, height } = state.scene;
    const [left, top] = [Math.round(x - region.width / 2), Math.round(y - region.height / 2)];
    for (let v = 0; v < region.height; v++) {
      for (let u = 0; u < region.width; u++) {
        const [r, c] = [top + v, left + u];
        const from = v * region.width + u;
        if (!region.mask[from] || r < 0 || c < 0 || r >= height || c >= width) continue;
        const at = r * width + c;
        state.indices[at] = region.class;
        state.stamped[at] = state.region + 1;
        for (let k = 0; k < channels; k++) state.pixels[at * channels + k] = region.pixels[from * channels + k];
      }
    }
  }
  function closePolygon() {
    const corners = state.polygon;
    state.polygon = [];
    if (corners.length < 3) return showEdit();
    keep();
    const { width, height } = state.scene;
    for (let v = 0; v < height; v++) {
      for (let u = 0; u < width; u++) {
        let inside = false; // even-odd rule
        corners.forEach((a, i) => {
          const b = corners[(i + 1) % corners.length];
          const [x, y] = [u + 0.5, v + 0.5];
          if (a.y > y !== b.y > y && x < ((b.x - a.x) * (y - a.y)) / (b.y - a.y) + a.x) inside = !inside;
        });
        if (inside) set(v * width + u, state.cls);
      }
    }
    refresh();
  }
  const place = (event) => {
    const box = $("edit").getBoundingClientRect();
    const clip = (value, most) => Math.min(Math.max(value, 0), most - 1e-3);
    const { width, height } = state.scene;
    return { x: clip(((event.clientX - box.left) / box.width) * width, width), y: clip(((event.clientY - box.top) / box.height) * height, height) };
  };
  $("edit").addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    $("edit").focus();
    const at = place(event);
    if (state.tool === "polygon") {
      state.polygon.push(at);
      return showEdit();
    }
    keep();
    if (state.tool === "fill") fill(at.x, at.y);
    else if (state.tool === "stamp") stamp(at.x, at.y);
    else {
      stroke = at;
      $("edit").setPointerCapture(event.pointerId);
      dab(at.x, at.y);
    }
    refresh();
  });
  $("edit").addEventListener("pointermove", (event) => {
    if (!stroke) return;
    const at = place(event);
    line(stroke, at);
    stroke = at;
    refresh();
  });
  for (const end of ["pointerup", "pointercancel"]) $("edit").addEventListener(end, () => (stroke = null));
  $("edit").addEventListener("dblclick", () => state.tool === "polygon" && closePolygon());
  $("undo").addEventListener("click", undo);
  $("reset").addEventListener("click", () => {
    keep();
    Object.assign(state, { pixels: state.real.pixels.slice(), indices: state.real.indices.slice() });
    state.stamped = new Uint16Array(state.indices.length);
    refresh();
  });

  document.addEventListener("keydown", (event) => {
    if ($("paint").hidden || event.target.matches("input[type=number], select")) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      event.preventDefault();
      return undo();
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const tools = { b: "brush", p: "polygon", f: "fill", s: "stamp", r: "restore" };
    if (event.key in tools && !(event.key === "s" && !regions.length)) choose("tool", tools[event.key]);
    else if (event.key >= "1" && event.key <= "9" && paintable[event.key - 1]) choose("cls", paintable[event.key - 1].index);
    else if (event.key === "[" || event.key === "]") choose("size", Math.min(40, Math.max(1, state.size + (event.key === "]" ? 1 : -1))));
    else if (event.key === "n") nextSeed();
    else if (event.key === "Enter" && state.polygon.length) closePolygon();
    else if (event.key === "Escape" && state.polygon.length) choose("polygon", []);
  });

  // drawing
  const { generator } = networks;
  $("strength-label").hidden = generator.strength === null;
  $("guidance-label").hidden = (generator.guidance ?? null) === null;
  $("strength").value = 100 * (generator.strength ?? 1);
  $("guidance").value = generator.guidance ?? 1;
  const strength = () => Number($("strength").value) / 100;
  const settings = () => ({ seed: Number($("seed").value), strength: strength(), guidance: Number($("guidance").value), stale: () => waiting });
  function changedPixels() {
    const changed = new Uint8Array(state.indices.length);
    for (let i = 0; i < changed.length; i++) changed[i] = state.stamped[i] > 0 || state.indices[i] !== state.real.indices[i];
    return changed;
  }
  function maskOf(changed) {
    const { height, width } = state.scene;
    if ($("extent").value === "whole") return new Float32Array(changed.length).fill(1);
    const distance = distances(changed, height, width, SOFT_EDGE_PX);
    return Float32Array.from(distance, (value) => Math.min(1, Math.max(0, 1 - value / (SOFT_EDGE_PX + 1))));
  }
  async function drawOnce() {
    const { height, width } = state.scene;
    const { pixels, indices, scene } = state;
    const changed = changedPixels();
    const mask = maskOf(changed);
    const start = performance.now();
    const nothing = strength() === 0 || mask.every((value) => value === 0);
    const drawn = nothing ? pixels.slice() : await networks.draw(pixels, indices, mask, height, width, settings());
    const took = performance.now() - start;
    if (drawn === null || state.scene !== scene) return;
    state.drawn = drawn;
    show("drawn", drawn);
    outline("drawn", changed, height, width);
    $("draw-time").textContent = nothing ? "(nothing was changed)" : `in ${took.toFixed(0)} ms`;
    if (!nothing) document.body.dataset.drawMs = took.toFixed(1);
    if (!networks.segment) return;
    const found = await networks.segment(drawn, height, width);
    if (state.scene !== scene) return;
    show("opinion", drawn, found, 0.6);
    let [both, either] = [0, 0];
    const wanted = state.cls === IGNORED ? 0 : state.cls;
    for (let i = 0; i < found.length; i++) {
      if (indices[i] === IGNORED) continue;
      both += found[i] === wanted && indices[i] === wanted;
      either += found[i] === wanted || indices[i] === wanted;
    }
    $("agreement").textContent = either ? `${classes[wanted].name}: IoU with the label map ${((100 * both) / either).toFixed(0)} %` : "";
  }
  async function draw() {
    if (running) return void (waiting = true);
    running = true;
    try {
      do {
        waiting = false;
        await drawOnce();
        await new Promise((next) => setTimeout(next)); // strokes that came meanwhile
      } while (waiting);
      document.body.dataset.drawn = Number(document.body.dataset.drawn ?? 0) + 1;
    } catch (problem) {
      failed(problem);
    } finally {
      running = false;
    }
  }
  function failed(problem) {
    say(`not drawn: ${problem.message}`, true);
    console.error(problem);
  }
  const nextSeed = () => {
    $("seed").value = (Number($("seed").value) + 1) % 4294967296;
    draw();
  };
  $("extent").addEventListener("change", draw);
  for (const id of ["strength", "guidance", "seed"]) $(id).addEventListener("input", draw);
  $("strength").addEventListener("input", () => ($("strength-value").textContent = strength().toFixed(2)));
  $("next-seed").addEventListener("click", nextSeed);
  $("opacity").addEventListener("input", showEdit);

  // showing
  function show(id, pixels, indices = null, share = 0) {
    const { height, width } = state.scene;
    const picture = new ImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      const colour = indices && indices[i] !== IGNORED ? classes[indices[i]].colour : null;
      for (let c = 0; c < 3; c++) {
        const value = pixels[i * channels + shown[c]];
        picture.data[4 * i + c] = colour ? value + share * (colour[c] - value) : value;
      }
      picture.data[4 * i + 3] = 255;
    }
    $(id).getContext("2d").putImageData(picture, 0, 0);
  }
  // black and white by turns, to be seen on any colour and by any eye
  function outline(id, inside, height, width) {
    const context = $(id).getContext("2d");
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const at = y * width + x;
        if (inside[at]) continue;
        const next = (x > 0 && inside[at - 1]) || (x < width - 1 && inside[at + 1]) || (y > 0 && inside[at - width]) || (y < height - 1 && inside[at + width]);
        if (!next) continue;
        context.fillStyle = (x + y) & 2 ? "#000" : "#fff";
        context.fillRect(x, y, 1, 1);
      }
    }
  }
  function showEdit() {
    const { height, width } = state.scene;
    show("edit", state.pixels, state.indices, Number($("opacity").value) / 100);
    outline("edit", changedPixels(), height, width);
    const context = $("edit").getContext("2d");
    state.polygon.forEach((corner, i) => {
      const to = state.polygon[i + 1] ?? corner;
      for (const [colour, thick] of [["#000", 2], ["#fff", 1]]) {
        context.strokeStyle = colour;
        context.lineWidth = thick;
        context.beginPath();
        context.moveTo(corner.x - 0.5, corner.y);
        context.lineTo(to.x + 0.5, to.y);
        context.stroke();
      }
    });
  }
  function refresh() {
    $("undo").disabled = !state.undo.length;
    showEdit();
    draw();
  }

  openSaving(page, () => ({ ...state, changed: changedPixels(), ...settings() }));
  $("opinion-figure").hidden = !networks.segment;
  const first = page.classes.rare?.length ? classes.findIndex((c) => c.name === page.classes.rare[0]) : 0;
  state.cls = Math.max(first, 0);
  await openScene(0);
  choose("tool", "brush");
}
