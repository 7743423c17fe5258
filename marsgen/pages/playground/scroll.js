// Virtual scrolling: of many cells in a grid, only those in sight are in the document; and cells of sheets of thumbnails.

export const GAP_PX = 6; // between cells, and around them
const SPARE_ROWS = 2; // above and below what is in sight, so that slow drawing is not seen

// grid: the element that scrolls; its first child takes the height of all cells.
// size(room) -> [width, height] of a cell in px, of which `room` are there in a row; count() -> how many there are;
// make(position) -> the element of a cell, made when it comes into sight; mark(element, position) -> what may change in it
export function openScroller(grid, { size, count, make, mark = () => {} }) {
  const space = grid.firstElementChild;
  let there = new Map(); // position -> element
  let [asked, laidOut] = [false, ""];

  const sizes = () => size(grid.clientWidth - 2 * GAP_PX).map((length) => length + GAP_PX);
  const columns = () => Math.max(1, Math.floor((grid.clientWidth - GAP_PX) / sizes()[0]));
  function show() {
    if (!grid.clientWidth) return; // its tab is hidden
    const total = count();
    if (!total) {
      space.style.height = "0";
      return clear();
    }
    const [wide, tall] = sizes();
    const across = columns();
    const layout = [wide, tall, across].join();
    if (layout !== laidOut) clear();
    laidOut = layout;
    space.style.height = `${Math.ceil(total / across) * tall + GAP_PX}px`;
    const first = Math.max(0, Math.floor(grid.scrollTop / tall) - SPARE_ROWS) * across;
    const last = Math.min(total, (Math.ceil((grid.scrollTop + grid.clientHeight) / tall) + SPARE_ROWS) * across);
    const before = there;
    there = new Map();
    for (let position = first; position < last; position++) {
      let element = before.get(position);
      if (!element) {
        element = make(position);
        element.dataset.position = position;
        Object.assign(element.style, { width: `${wide - GAP_PX}px`, left: `${(position % across) * wide + GAP_PX}px`, top: `${Math.floor(position / across) * tall + GAP_PX}px` });
        space.append(element);
      }
      before.delete(position);
      mark(element, position);
      there.set(position, element);
    }
    for (const element of before.values()) element.remove();
  }
  function clear() {
    for (const element of there.values()) element.remove();
    there.clear();
  }
  function ask() {
    if (asked) return; // several events come in one frame
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      show();
    });
  }
  // scrolls as little as brings a cell into sight
  function reach(position) {
    const tall = sizes()[1];
    const top = Math.floor(position / columns()) * tall;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + tall > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + tall - grid.clientHeight;
  }
  // the same cells, made anew
  function redraw() {
    clear();
    show();
  }
  // other cells than before
  function renew() {
    grid.scrollTop = 0;
    redraw();
  }
  grid.addEventListener("scroll", ask, { passive: true });
  window.addEventListener("resize", ask);
  document.addEventListener("tab", show);
  return { show, redraw, renew, reach, columns };
}

// file, and left and top of a cell in it, of a kind of sheets as marsgen/pages/sheets.py writes them
export function cellOf({ stem, cell, rows, columns }, number, kind, suffix) {
  const [sheet, place] = [Math.floor(number / (rows * columns)), number % (rows * columns)];
  const file = `data/${stem}-${kind}-${String(sheet).padStart(3, "0")}.${suffix}`;
  return { file, left: (place % columns) * cell[1], top: Math.floor(place / columns) * cell[0] };
}
