// Saved searches, which the page without a query lists as albums.

import { button, copy, h } from "./dom.js";
import * as server from "./server.js";
import { safe } from "./text.js";

let albums = [];

export async function begin() {
  try {
    albums = await server.get("/api/saved");
  } catch {
    // the search says that the server does not answer
  }
  return albums.length > 0;
}

export function row() {
  if (!albums.length) return [];
  const links = albums.map((album) => h("li", null, link(album)));
  return [h("nav", { class: "albums", "aria-label": "Saved searches" }, h("h2", null, "Saved searches"), h("ul", null, ...links))];
}

function link({ name, address, command, problem }) {
  if (address !== undefined) return h("a", { class: "pill", href: `/?${address}` }, safe(name));
  if (problem) return h("span", { class: "pill", title: safe(problem) }, `${safe(name)} (damaged)`);
  return button(`Copy the command of ${safe(name)}`, { class: "pill", text: `${safe(name)} (command)`, onclick: () => copy(command, "Command") });
}
