// The selected files, and their bar.

import { $, button, copy, h, say } from "./dom.js";
import { count, exactPath } from "./text.js";

const chosen = new Map(); // identity to the record, in the order of choosing
const listeners = [];

export const onChange = (listener) => listeners.push(listener);
export const has = (id) => chosen.has(id);

function changed(ids) {
  draw();
  for (const listener of listeners) listener(ids);
}

export function toggle(record) {
  if (!chosen.delete(record.id)) chosen.set(record.id, record);
  changed([record.id]);
}

export function clear() {
  const ids = [...chosen.keys()];
  chosen.clear();
  changed(ids);
  return ids.length > 0;
}

// A form: the browser writes its answer to a file as it comes.
function save(form) {
  const fields = [...chosen.keys()].map((id) => h("input", { type: "hidden", name: "id", value: id }));
  const sent = h(
    "form",
    { method: "post", action: "/api/selection", class: "hidden" },
    h("input", { type: "hidden", name: "form", value: form }),
    fields,
  );
  document.body.append(sent);
  sent.submit();
  sent.remove();
  say(`Saving ${count(chosen.size, "file")}`);
}

function draw() {
  const bar = $("selection");
  bar.hidden = chosen.size === 0;
  document.documentElement.classList.toggle("selecting", !bar.hidden);
  if (bar.hidden) return;
  const paths = () => [...chosen.values()].map(exactPath).join("\n");
  const buttons = [
    ["Save as ZIP", "save", () => save("zip")],
    ["Save as gallery", "image", () => save("gallery")],
    ["Save list of paths", "list", () => save("paths")],
    ["Copy paths", "copy", () => copy(paths(), count(chosen.size, "path"))],
    ["Clear", "close", clear],
  ].map(([label, name, onclick]) => button(label, { name, text: label, onclick }));
  bar.replaceChildren(h("strong", null, `${count(chosen.size, "file")} selected`), ...buttons);
}
