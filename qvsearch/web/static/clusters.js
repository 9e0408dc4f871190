// Groups of files that are alike, largest first; one opens as a grid.

import { card } from "./card.js";
import { $, button, entitle, h, onPlainClick, problem } from "./dom.js";
import { Grid } from "./grid.js";
import { Records } from "./results.js";
import * as selection from "./selection.js";
import * as server from "./server.js";
import { count, kindName, nameOf, percent, safe } from "./text.js";
import * as viewer from "./viewer.js";

const PICTURES = 4; // of the tile of a group
const NO_GROUP = -1;

let groups = [];
let grid = null;

export async function begin() {
  grid = new Grid($("grid"), (record, index, size) => card(record, size, viewer.view), () => {});
  selection.onChange((ids) => {
    for (const id of ids) grid.redraw(grid.results?.indexOf(id) ?? -1);
  });
  const working = () => $("message").replaceChildren(h("p", { class: "quiet busy" }, "Grouping the files…"));
  working();
  try {
    groups = (await server.getWhenDone("/api/clusters", working)).clusters;
  } catch (error) {
    $("message").replaceChildren(problem(safe(error.message)));
    return;
  }
  addEventListener("popstate", show);
  show();
  viewer.begin(grid);
}

const title = (each) => safe(each.name ?? (each.id === NO_GROUP ? "In no group" : `Group ${each.id + 1}`));

function show() {
  const id = new URLSearchParams(location.search).get("group");
  const one = groups.find((each) => String(each.id) === id);
  if (one && grid.results?.records === one.items) return;
  $("tiles")?.remove();
  grid.show(new Records(one ? one.items : []));
  entitle(one ? title(one) : "Groups");
  if (one) inside(one);
  else all();
}

function go(id) {
  history.pushState(null, "", id === null ? "/clusters" : `/clusters?group=${id}`);
  scrollTo({ top: 0, behavior: "instant" });
  show();
}

function inside(one) {
  const sure = one.confidence === undefined ? "" : `; the name fits it to ${percent(one.confidence)}`;
  $("message").replaceChildren(
    h("p", null, button("All groups", { name: "left", text: "All groups", onclick: () => go(null) })),
    h("p", { class: "quiet" }, `${count(one.files, "file")}, the most central first${sure}`),
  );
  grid.focus(0);
}

function all() {
  const named = groups.filter((each) => each.id !== NO_GROUP);
  const text = named.length ? count(named.length, "group") : "The files form no groups.";
  $("message").replaceChildren(h("p", { class: "quiet" }, text));
  const tiles = groups.map((each) => {
    const pictures = each.items.slice(0, PICTURES).map(tile);
    const link = h("a", { href: `/clusters?group=${each.id}` }, h("span", { class: "mosaic" }, ...pictures), h("b", null, title(each)), h("span", { class: "quiet" }, count(each.files, "file")));
    onPlainClick(link, () => go(each.id));
    return h("li", null, link);
  });
  $("main").append(h("ul", { id: "tiles", class: "tiles" }, ...tiles));
}

function tile(record) {
  if (record.kind === "text") return h("span", { class: "word" }, nameOf(record));
  const image = h("img", { alt: `${kindName(record.kind)} ${nameOf(record)}`, loading: "lazy", src: server.thumbnail(record.id, 320, record) });
  image.addEventListener("error", () => image.replaceWith(h("span", { class: "word" }, nameOf(record))));
  return image;
}
