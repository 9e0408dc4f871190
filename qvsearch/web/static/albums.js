// The saved searches of the libraries, as albums below the start of the page.

import { h } from "./dom.js";
import { safe } from "./text.js";

let records = [];

export const use = (saved) => (records = saved);

export function list() {
  if (!records.length) return [];
  const several = new Set(records.map((each) => each.library)).size > 1;
  const links = records.map((each) => {
    const name = several ? `${safe(each.name)} · ${safe(each.library)}` : safe(each.name);
    if (!each.query) return h("li", { class: "chip quiet", title: safe(each.problem) }, name);
    return h("li", null, h("a", { class: "pill", href: `/?${each.query}`, title: safe(each.options) }, name));
  });
  const heading = h("h2", { id: "albums" }, "Saved searches");
  return [h("nav", { class: "albums", "aria-labelledby": "albums" }, heading, h("ul", null, ...links))];
}
