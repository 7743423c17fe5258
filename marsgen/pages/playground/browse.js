// The tab Browse: all pairs of a set as thumbnails, of which only those in sight are in the document.
import { download } from "./files.js";
import { say } from "./page.js";
import { cellOf, openScroller } from "./scroll.js";

const $ = (id) => document.getElementById(id);
const BORDER_PX = 3;
const ORDERS = {
  name: ["as in the set", () => 0],
  agreement: ["lowest agreement first", (pair) => pair.agreement ?? Infinity],
  best: ["highest agreement first", (pair) => -(pair.agreement ?? -Infinity)],
  copy: ["near-copies, then nearest to a training region", (pair) => (pair.copy ? -1 : (pair.distance ?? Infinity))],
  pasted: ["most pixels of the class first", (pair, shows) => -(pair.px[shows] ?? 0)],
};

export function openBrowse(page) {
  const state = { set: null, order: [], at: 0, rejected: new Set(), labels: true };
  $("no-sets").hidden = page.sets.length > 0;
  if (!page.sets.length) {
    for (const id of ["grid", "export"]) $(id).hidden = true;
    return;
  }
  for (const [number, set] of page.sets.entries()) $("set").add(new Option(`${set.name} (${set.pairs})`, number));
  for (const [key, [words]] of Object.entries(ORDERS)) $("order").add(new Option(words, key));

  const key = () => `rejected ${state.set.fingerprint}`;
  async function openSet(number) {
    const answer = await fetch(`data/${page.sets[number].file}`);
    if (!answer.ok) throw new Error(`data/${page.sets[number].file}: ${answer.status}`);
    state.set = await answer.json();
    state.rejected = new Set(JSON.parse(localStorage.getItem(key()) ?? "[]"));
    const options = (id, names) => {
      $(id).replaceChildren(new Option("any", ""));
      for (const name of names) $(id).add(new Option(name, name));
    };
    options("shows", [...new Set(state.set.pairs.flatMap((pair) => Object.keys(pair.px)))].sort());
    options("donor", [...new Set(state.set.pairs.flatMap((pair) => pair.donors))].sort());
    const scored = state.set.pairs.some((pair) => pair.agreement !== null);
    const copies = state.set.pairs.some((pair) => pair.distance !== null);
    for (const option of $("order").options) option.disabled = (["agreement", "best"].includes(option.value) && !scored) || (option.value === "copy" && !copies);
    sort();
  }

  function sort() {
    const [shows, donor, which] = [$("shows").value, $("donor").value, $("which").value];
    const rank = ORDERS[$("order").value][1];
    const found = state.set.pairs
      .map((pair, number) => ({ pair, number, rank: rank(pair, shows) }))
      .filter(({ pair }) => !shows || pair.px[shows])
      .filter(({ pair }) => !donor || pair.donors.includes(donor))
      .filter(({ pair }) => which === "all" || state.rejected.has(pair.name) === (which === "rejected"));
    found.sort((a, b) => (a.rank === b.rank ? a.number - b.number : a.rank < b.rank ? -1 : 1));
    state.order = found.map(({ number }) => number);
    state.at = Math.min(state.at, Math.max(0, state.order.length - 1));
    cells.renew();
    tell();
  }

  // one thumbnail: a part of a sheet, as background
  function thumbnail(sheets, number, kind) {
    const { file, left, top } = cellOf(sheets, number, kind, kind === "pictures" ? "jpg" : "png");
    const element = document.createElement("div");
    Object.assign(element.style, {
      width: `${sheets.cell[1]}px`,
      height: `${sheets.cell[0]}px`,
      backgroundImage: `url(${file})`,
      backgroundPosition: `-${left}px -${top}px`,
    });
    return element;
  }

  const cells = openScroller($("grid"), {
    size: () => [state.set.cell[1] + 2 * BORDER_PX, (state.labels ? 2 : 1) * state.set.cell[0] + 2 * BORDER_PX],
    count: () => state.order.length,
    make(position) {
      const number = state.order[position];
      const element = Object.assign(document.createElement("div"), { className: "pair", title: state.set.pairs[number].name });
      element.setAttribute("role", "gridcell");
      element.append(thumbnail(state.set, number, "pictures"));
      if (state.labels) element.append(thumbnail(state.set, number, "labels"));
      return element;
    },
    mark(element, position) {
      const { name } = state.set.pairs[state.order[position]];
      const rejected = state.rejected.has(name);
      element.classList.toggle("rejected", rejected);
      element.classList.toggle("at", position === state.at);
      element.setAttribute("aria-label", `${name}${rejected ? ", rejected" : ""}`);
    },
  });
  const tell = () => ($("count").textContent = `${state.order.length} shown, ${state.rejected.size} of ${state.set.pairs.length} rejected`);

  function move(by) {
    state.at = Math.min(Math.max(state.at + by, 0), Math.max(0, state.order.length - 1));
    cells.reach(state.at);
    cells.show();
  }
  function reject() {
    const pair = state.set.pairs[state.order[state.at]];
    if (!pair) return;
    if (!state.rejected.delete(pair.name)) state.rejected.add(pair.name);
    localStorage.setItem(key(), JSON.stringify([...state.rejected]));
    cells.show();
    tell();
  }

  function detail() {
    const number = state.order[state.at];
    const pair = state.set.pairs[number];
    if (!pair) return;
    const figure = (words, ...thumbnails) => {
      const element = document.createElement("figure");
      const caption = document.createElement("figcaption");
      caption.textContent = words;
      element.append(...thumbnails, caption);
      return element;
    };
    const views = Object.assign(document.createElement("div"), { className: "views" });
    const both = (sheets, of) => [thumbnail(sheets, of, "pictures"), thumbnail(sheets, of, "labels")];
    views.append(figure(pair.name, ...both(state.set, number)));
    for (const [words, name] of [["parent", pair.parent], ...[...new Set(pair.donors)].map((donor) => ["donor", donor])]) {
      if (name in page.real.numbers) views.append(figure(`${words} ${name}`, ...both(page.real, page.real.numbers[name])));
    }
    const list = document.createElement("dl");
    const fact = (words, value) => {
      if (value === null || value === undefined || value === "") return;
      for (const [kind, text] of [["dt", words], ["dd", value]]) list.append(Object.assign(document.createElement(kind), { textContent: text }));
    };
    fact("pasted", pair.pasted.join(", "));
    fact("agreement", pair.agreement?.toFixed(3));
    fact("distance to the nearest training region", pair.distance?.toFixed(3));
    fact("near-copy", pair.copy === null ? null : pair.copy ? "yes" : "no");
    fact("pixels", Object.entries(pair.px).map(([name, px]) => `${name} ${px}`).join(", "));
    const close = Object.assign(document.createElement("button"), { textContent: "Close" });
    close.addEventListener("click", () => $("detail").close());
    $("detail").replaceChildren(views, list, close);
    $("detail").showModal();
  }

  $("grid").addEventListener("click", (event) => {
    const found = event.target.closest(".pair");
    if (!found) return;
    const position = Number(found.dataset.position);
    const again = position === state.at && document.activeElement === $("grid");
    state.at = position;
    $("grid").focus({ preventScroll: true });
    if (again) detail();
    else cells.show();
  });
  $("reject").addEventListener("click", reject);
  $("grid").addEventListener("keydown", (event) => {
    const columns = cells.columns();
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: 4 * columns, PageUp: -4 * columns, Home: -Infinity, End: Infinity };
    if (event.key in steps) move(steps[event.key]);
    else if (event.key === "x" || event.key === "Delete") reject();
    else if (event.key === "Enter") detail();
    else if (event.key === "l") {
      state.labels = !state.labels;
      cells.show();
      move(0);
    } else return;
    event.preventDefault();
  });
  for (const id of ["shows", "donor", "which", "order"]) $(id).addEventListener("change", sort);
  const failed = (problem) => say(problem.message, true);
  $("set").addEventListener("change", () => openSet(Number($("set").value)).catch(failed));
  $("export").addEventListener("click", () => {
    const kept = state.set.pairs.map((pair) => pair.name).filter((name) => !state.rejected.has(name));
    const content = { set: state.set.location, fingerprint: state.set.fingerprint, kept };
    download(new Blob([`${JSON.stringify(content, null, 1)}\n`], { type: "application/json" }), "kept.json");
    say(`saved kept.json: ${kept.length} of ${state.set.pairs.length} pairs`);
  });
  openSet(0).catch(failed);
}
