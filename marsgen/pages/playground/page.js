// The tabs, and what both of them need: the description of the page, and the networks.
import { openBrowse } from "./browse.js";
import { openCompare } from "./compare.js";
import { openNetworks } from "./networks.js";
import { openPaint } from "./paint.js";

const status = document.getElementById("status");

export function say(text, bad = false) {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

function show(name) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const here = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", here);
    tab.tabIndex = here ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !here;
  }
  document.dispatchEvent(new CustomEvent("tab", { detail: name }));
}

async function open() {
  const answer = await fetch("data/page.json");
  if (!answer.ok) throw new Error(`data/page.json: ${answer.status} ${answer.statusText}`);
  const page = await answer.json();
  const tabs = [...document.querySelectorAll("[role=tab]")];
  for (const tab of tabs) {
    tab.addEventListener("click", () => show(tab.getAttribute("aria-controls")));
    tab.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
      const next = tabs[(tabs.indexOf(tab) + (event.key === "ArrowRight" ? 1 : tabs.length - 1)) % tabs.length];
      next.focus();
      next.click();
    });
  }
  openBrowse(page);
  openCompare(page);
  const networks = await openNetworks(page);
  await openPaint(page, networks);
  say("");
  document.body.dataset.ready = "yes";
}

open().catch((problem) => {
  say(`this page could not be opened: ${problem.message}; is it served by a web server, such as python -m http.server?`, true);
  console.error(problem);
});
