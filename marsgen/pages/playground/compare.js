// The tab Compare: what two networks predict for the same pictures, those that changed most first.
import { say } from "./page.js";
import { GAP_PX, cellOf, openScroller } from "./scroll.js";

const $ = (id) => document.getElementById(id);
const IGNORED = 255;
const ANY = -1; // instead of a class
const WIDEST_PX = 400;
const CAPTION_PX = 28;
const SHEETS_KEPT = 64;
// colours of Okabe and Ito, which differ for every eye and in brightness; what is false also lies outside of the outline
const HIT = { words: "right", colour: [86, 180, 233] };
const MISSED = { words: "missed", colour: [240, 228, 66] };
const FALSE = { words: "false", colour: [213, 94, 0] };
const COVER = 0.6;

const json = async (address) => {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status} ${answer.statusText}`);
  return answer.json();
};
const build = (kind, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(kind), properties);
  element.append(...children);
  return element;
};

// cells of sheets as ImageData; the sheets used last are kept
function openSheets(sheets) {
  const kept = new Map();
  const scratch = new OffscreenCanvas(sheets.cell[1], sheets.cell[0]).getContext("2d", { willReadFrequently: true });
  async function decode(file) {
    const answer = await fetch(file);
    if (!answer.ok) throw new Error(`${file}: ${answer.status} ${answer.statusText}`);
    return createImageBitmap(await answer.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  }
  return async (number, kind) => {
    const { file, left, top } = cellOf(sheets, number, kind, kind === "pictures" ? "jpg" : "png");
    const sheet = kept.get(file) ?? decode(file);
    kept.delete(file);
    kept.set(file, sheet);
    if (kept.size > SHEETS_KEPT) kept.delete(kept.keys().next().value);
    scratch.drawImage(await sheet, -left, -top);
    return scratch.getImageData(0, 0, sheets.cell[1], sheets.cell[0]);
  };
}

// which colour a pixel is covered with, or undefined
function coverOf(predicted, truth, cls, classes, asClasses) {
  if (asClasses) return classes[predicted]?.colour;
  if (truth === IGNORED) return undefined;
  if (cls === ANY) return predicted === truth ? undefined : FALSE.colour;
  if (truth === cls) return (predicted === cls ? HIT : MISSED).colour;
  return predicted === cls ? FALSE.colour : undefined;
}

// the picture, covered where `cover` says so, and the class in the label map outlined in black and white by turns
function compose(picture, truth, cls, cover) {
  const { width, height } = picture;
  const made = new ImageData(new Uint8ClampedArray(picture.data), width, height);
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && truth.data[4 * (y * width + x)] === cls;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = 4 * (y * width + x);
      const colour = cover(at);
      if (colour) for (let c = 0; c < 3; c++) made.data[at + c] += COVER * (colour[c] - made.data[at + c]);
      if (inside(x, y) || !(inside(x - 1, y) || inside(x + 1, y) || inside(x, y - 1) || inside(x, y + 1))) continue;
      made.data.fill((x + y) & 2 ? 0 : 255, at, at + 3);
    }
  }
  return made;
}

export function openCompare(page) {
  $("no-comparison").hidden = Boolean(page.comparison);
  $("comparison").hidden = !page.comparison;
  if (!page.comparison) return;
  const classes = page.classes.classes;
  const state = { found: null, order: [], split: new Map() };
  let cell = null;

  const chosen = () => [$("run-a"), $("run-b"), $("compared-class")].map((element) => Number(element.value));
  // pixels that are right, less those falsely called so, as in the gallery of `segmenter report`
  function balance(picture, run, cls) {
    const right = picture.right[run];
    return cls === ANY ? right.reduce((sum, px) => sum + px, 0) : 2 * right[cls] - picture.called[run][cls];
  }

  function sort() {
    const [a, b, cls] = chosen();
    const wanted = { all: () => true, improved: (by) => by > 0, regressed: (by) => by < 0 }[$("changed").value];
    const changes = state.found.pictures.map((picture, number) => ({ number, by: balance(picture, b, cls) - balance(picture, a, cls) }));
    state.order = changes.filter(({ by }) => wanted(by)).sort((one, other) => Math.abs(other.by) - Math.abs(one.by) || one.number - other.number);
    const [better, worse] = [changes.filter(({ by }) => by > 0).length, changes.filter(({ by }) => by < 0).length];
    $("compared-count").textContent = `${better} improved, ${worse} regressed, ${changes.length - better - worse} the same; ${state.order.length} shown`;
    table(a, b, cls);
    legend(cls);
    cells.renew();
  }

  function table(a, b, cls) {
    const percent = (value) => (value === null ? "–" : (100 * value).toFixed(1));
    const points = (from, to) => (from === null || to === null ? "–" : `${to < from ? "−" : "+"}${Math.abs(100 * (to - from)).toFixed(1)}`);
    const row = (name, from, to, marked) =>
      build("tr", { className: marked ? "chosen" : "" }, build("th", { scope: "row", textContent: name }), ...[percent(from), percent(to), points(from, to)].map((textContent) => build("td", { textContent })));
    const { runs, pictures, location } = state.found;
    $("iou").tBodies[0].replaceChildren(
      ...classes.map(({ name }, index) => row(name, runs[a].iou[index], runs[b].iou[index], index === cls)),
      row("mean", runs[a].mean, runs[b].mean, cls === ANY),
    );
    $("iou").caption.textContent = `IoU in % on all ${pictures.length} pictures of ${location}; difference in points`;
  }

  function legend(cls) {
    const entry = (colour, words) => build("span", {}, build("span", { className: "swatch", style: `background: rgb(${colour.join()})` }), words);
    const name = classes[cls]?.name;
    if ($("shown-as").value === "classes") $("legend").replaceChildren(...classes.map((c) => entry(c.colour, c.name)));
    else if (cls === ANY) $("legend").replaceChildren(entry(FALSE.colour, "wrong"));
    else $("legend").replaceChildren(...[HIT, MISSED, FALSE].map(({ colour, words }) => entry(colour, words)), `black and white line: ${name} in the label map`);
  }

  async function draw(element, number) {
    const [a, b, cls] = chosen();
    const asClasses = $("shown-as").value === "classes";
    const kinds = ["pictures", "labels", `run${a}`, `run${b}`];
    const [picture, truth, ...predicted] = await Promise.all(kinds.map((kind) => cell(number, kind)));
    if (!element.isConnected) return; // scrolled out of sight, or another choice
    const covers = [truth, ...predicted].map((map, i) => (at) => (i || asClasses ? coverOf(map.data[at], truth.data[at], cls, classes, asClasses) : undefined));
    for (const [i, canvas] of [...element.querySelectorAll("canvas")].entries()) {
      canvas.getContext("2d").putImageData(compose(picture, truth, cls, covers[i]), 0, 0);
    }
    element.dataset.drawn = "yes";
  }

  const cells = openScroller($("changes"), {
    size(room) {
      const [height, width] = state.found.cell;
      const across = Math.max(1, Math.ceil(room / WIDEST_PX)); // fill the row
      const wide = Math.floor((room + GAP_PX) / across) - GAP_PX;
      return [wide, 2 * (Math.round((wide * height) / width) + 3) + CAPTION_PX];
    },
    count: () => state.order.length,
    make(position) {
      const { number, by } = state.order[position];
      const { name } = state.found.pictures[number];
      const [height, width] = state.found.cell;
      const canvas = (className = "") => build("canvas", { width, height, className });
      const tag = (textContent, side) => build("span", { textContent, className: `tag ${side}` });
      const slider = build("input", { type: "range", min: 0, max: 100, value: state.split.get(number) ?? 50 });
      slider.setAttribute("aria-label", `${name}: A left of the line, B right of it`);
      const style = `aspect-ratio: ${width} / ${height}`;
      const swipe = build("div", { className: "swipe", style }, canvas(), canvas("right-of-line"), tag("A", "left"), tag("B", "right"), slider);
      const moved = () => {
        swipe.style.setProperty("--split", `${slider.value}%`);
        slider.setAttribute("aria-valuetext", `A ${slider.value} %`);
        state.split.set(number, slider.value);
      };
      slider.addEventListener("input", moved);
      moved();
      const change = by > 0 ? `▲ ${by} px improved` : by < 0 ? `▼ ${-by} px regressed` : "= the same";
      const element = build(
        "div",
        { className: "change" },
        build("div", { className: "truth", style }, canvas(), tag("label", "left")),
        swipe,
        build("div", { className: "caption" }, build("strong", { textContent: change }), build("span", { textContent: name, title: name })),
      );
      for (const [key, value] of [["role", "listitem"], ["aria-setsize", state.order.length], ["aria-posinset", position + 1]]) element.setAttribute(key, value);
      setTimeout(() => draw(element, number).catch(failed)); // when it is in the document
      return element;
    },
  });

  function failed(problem) {
    say(`not compared: ${problem.message}`, true);
    console.error(problem);
  }
  async function open() {
    state.found = await json(`data/${page.comparison.file}`);
    cell = openSheets(state.found);
    const { runs, left_out, unknown } = state.found;
    for (const id of ["run-a", "run-b"]) for (const [number, { name }] of runs.entries()) $(id).add(new Option(name, number));
    $("run-b").value = 1;
    for (const [number, { name }] of classes.entries()) $("compared-class").add(new Option(name, number));
    $("compared-class").add(new Option("any class", ANY));
    const rare = classes.findIndex(({ name }) => name === page.classes.rare?.[0]);
    $("compared-class").value = rare;
    const notes = [];
    if (left_out) notes.push(`${left_out} scenes are left out: a network was trained on them, or chosen by them.`);
    if (unknown.length) notes.push(`What ${unknown.join(" and ")} was trained on is not known here; it may have been these pictures.`);
    $("compared-notes").textContent = notes.join(" ");
    for (const id of ["run-a", "run-b", "compared-class", "changed"]) $(id).addEventListener("change", sort);
    $("shown-as").addEventListener("change", () => {
      legend(chosen()[2]);
      cells.redraw(); // and stay where it was scrolled to
    });
    sort();
  }
  let opened = null;
  document.addEventListener("tab", ({ detail }) => {
    if (detail === "compare") opened ??= open().catch(failed);
  });
}
