// Saving: the pair that is drawn, or several kept label maps for `marsgen synthesize --maps`. Each zip is a data set whose
// manifest.jsonl names the real scenes that it grew from; its synth.json, what drew it and what that has learned from.
import { bytesOf, download, encodeNpy, encodePng, zip } from "./files.js";
import { say } from "./page.js";

const IGNORED = 255;
const $ = (id) => document.getElementById(id);
const encode = (content) => new TextEncoder().encode(content);
const json = (content) => encode(`${JSON.stringify(content, null, 1)}\n`);

// now: a function that gives what is on the page at the moment
export function openSaving(page, now) {
  const kept = [];
  const stemOf = (name) => name.replace(/[^\w.-]+/g, "_").replace(/^\.+/, "");

  // the scenes behind a label map, and those of their fingerprints that are known
  function origin({ scene, stamped }) {
    const donors = [...new Set(stamped)].filter((number) => number).map((number) => page.regions[number - 1]);
    const parent = { name: scene.name, key: scene.key, box: scene.box };
    return {
      line: { parent, donors: donors.map((region) => ({ name: region.donor, key: region.key, class: page.classes.classes[region.class].name })) },
      fingerprints: { [scene.key]: scene.fingerprint },
    };
  }
  async function pairFiles(name, pixels, { scene, indices }) {
    const { height, width } = scene;
    const ids = Uint8Array.from(indices, (index) => (index === IGNORED ? page.classes.ignored : page.classes.classes[index].id));
    const few = page.channels <= 3;
    const picture = few ? await encodePng(pixels, height, width, page.channels) : encodeNpy(pixels, height, width, page.channels);
    return { [`images/${name}.${few ? "png" : "npy"}`]: picture, [`labels/${name}.png`]: await encodePng(ids, height, width, 1) };
  }
  const save = (name, files, lines, head) =>
    download(
      zip({
        ...files,
        "classes.yaml": json(page.classes), // json is yaml
        "manifest.jsonl": encode(lines.map((line) => `${JSON.stringify(line)}\n`).join("")),
        "synth.json": json(head),
      }),
      name,
    );
  const readHead = async () => JSON.parse(new TextDecoder().decode(await bytesOf("data/synth.json")));

  async function savePair() {
    const state = now();
    const head = await readHead();
    const name = `${stemOf(state.scene.name)}-seed${state.seed}`;
    const { line, fingerprints } = origin(state);
    const drawing = { strength: state.strength, ...($("guidance-label").hidden ? {} : { guidance: state.guidance }) };
    const pictures = { ...head.pictures, ...fingerprints };
    save(`${name}.zip`, await pairFiles(name, state.drawn, state), [{ name, ...line, seed: state.seed }], { ...head, drawing, pictures });
    say(`saved ${name}.zip: a data set of one pair, which names the scenes that it grew from`);
  }

  function keep() {
    const { scene, pixels, indices, stamped, changed } = now();
    if (!changed.some(Boolean)) return say("nothing was changed in this label map, so there is nothing to keep", true);
    kept.push({ name: `map${String(kept.length).padStart(3, "0")}-${stemOf(scene.name)}`, scene, pixels: pixels.slice(), indices: indices.slice(), stamped: stamped.slice() });
    $("save-maps").disabled = false;
    $("save-maps").textContent = `Save the kept maps (${kept.length})`;
    say(`kept ${kept.length}; they are lost with the page until they are saved`);
  }
  async function saveMaps() {
    const { data, pictures } = await readHead();
    let [files, lines, known] = [{}, [], {}];
    for (const map of kept) {
      const { line, fingerprints } = origin(map);
      files = { ...files, ...(await pairFiles(map.name, map.pixels, map)) };
      lines.push({ name: map.name, ...line });
      for (const { key } of line.donors) if (key in pictures) known[key] = pictures[key];
      known = { ...known, ...fingerprints };
    }
    save("maps.zip", files, lines, { made_by: "marsgen playground", undrawn: true, data, trained_on: [], pictures: known });
    const held = page.part === "val" ? "; they grew from validation scenes: segmenter train refuses what is drawn of them" : "";
    say(`saved maps.zip: ${kept.length} label maps, to be unpacked and drawn by marsgen synthesize --maps${held}`);
  }

  const failed = (problem) => {
    say(`not saved: ${problem.message}`, true);
    console.error(problem);
  };
  $("save").addEventListener("click", () => savePair().catch(failed));
  $("keep").addEventListener("click", keep);
  $("save-maps").addEventListener("click", () => saveMaps().catch(failed));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "k" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!$("paint").hidden && !event.target.matches("input[type=number], select")) keep();
  });
}
