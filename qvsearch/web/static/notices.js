// What to know of the libraries: being indexed, changed, empty, lacking words.

import { $, button, copy, h } from "./dom.js";
import * as server from "./server.js";
import { count, safe } from "./text.js";

const SOON = 3000; // ms between questions while something is being indexed
const LATER = 60000;

let status = { libraries: [] };
const listeners = [];

export const current = () => status;
export const onStatus = (listener) => listeners.push(listener);

export async function begin() {
  await ask();
  document.addEventListener("visibilitychange", () => document.hidden || ask());
}

let waiting = 0;

async function ask() {
  clearTimeout(waiting);
  try {
    status = await server.get("/api/status");
    draw();
    for (const listener of listeners) listener();
  } catch {
    // the next search says that the server does not answer
  }
  const isBusy = status.libraries.some((each) => each.indexing || each.empty || each.changed === null);
  if (!document.hidden) waiting = setTimeout(ask, isBusy ? SOON : LATER);
}

export const isEmpty = () => status.libraries.length > 0 && status.libraries.every((each) => each.empty);

export function command(text) {
  const line = h("code", null, safe(text));
  return h("span", { class: "command" }, line, button("Copy the command", { name: "copy", onclick: () => copy(text, "Command") }));
}

function lack(where, { all, command: line, publishers }) {
  const text = all ? "Words are not found yet. To add them: " : "Words of some files are not found yet. To add them: ";
  return h("p", null, ...where, text, command(line), publishers ? ` by ${safe(publishers.join(", "))}` : "");
}

function draw() {
  const several = status.libraries.length > 1;
  const notes = status.libraries.flatMap((each) => {
    const where = several ? [h("b", null, safe(each.name)), ": "] : [];
    if (each.problem) return [h("p", null, ...where, safe(each.problem))];
    const words = each.missing_words && !each.empty ? [lack(where, each.missing_words)] : [];
    if (each.indexing) {
      const left = each.indexing.files_left;
      const text = left ? `Indexing: ${count(left, "file")} to go.` : "Indexing…";
      return [h("p", { class: "busy" }, ...where, text), ...words];
    }
    const changes = [
      each.changed ? `${count(each.changed, "file")} changed` : null,
      each.gone ? `${count(each.gone, "file is", "files are")} missing` : null,
    ].filter(Boolean);
    if (!changes.length || each.empty) return words;
    const now = each.command ? [" To bring it up to date: ", command(each.command)] : [];
    return [h("p", null, ...where, `${changes.join(" and ")} since it was indexed.`, ...now), ...words];
  });
  if (status.demo) {
    notes.push(h("p", null, "This library has the demo model, which was taught drawn shapes only. Index your own files with another model."));
  }
  const texts = notes.map((each) => each.textContent).join("\n");
  if ($("notices").dataset.texts === texts) return; // a screen reader would read them again
  $("notices").dataset.texts = texts;
  $("notices").replaceChildren(...notes);
}
