// Fetches what the address asks for and shows it.

import * as address from "./address.js";
import * as albums from "./albums.js";
import * as box from "./box.js";
import { card } from "./card.js";
import { $, button, h } from "./dom.js";
import * as filters from "./filters.js";
import { Grid } from "./grid.js";
import * as notices from "./notices.js";
import { Results } from "./results.js";
import * as selection from "./selection.js";
import * as server from "./server.js";
import { count, safe } from "./text.js";
import * as viewer from "./viewer.js";

let grid = null;
let asked = null; // the results of the last query, which may not be here yet

export async function begin() {
  grid = new Grid($("grid"), (record, index, size) => card(record, size, viewer.view), failed);
  selection.onChange((ids) => {
    for (const id of ids) grid.redraw(grid.results?.indexOf(id) ?? -1);
  });
  address.onQuery(run);
  box.begin();
  box.show();
  let wasEmpty = false;
  notices.onStatus(() => {
    if (notices.isEmpty()) $("message").replaceChildren(...empty());
    else if (wasEmpty) run();
    wasEmpty = notices.isEmpty();
  });
  const first = run();
  albums.begin().then((found) => found && grid.results && !location.search && message(grid.results));
  notices.begin();
  server.get("/api/fields").then((records) => {
    filters.use(records);
    box.show();
  }, () => {});
  await first;
  viewer.begin(grid);
  if (!address.hasQuery() && !location.hash && matchMedia("(hover: hover)").matches) $("q").focus();
}

export const focusFirst = () => grid.focus(grid.current);

async function run() {
  box.show();
  const results = new Results(address.query());
  asked?.close();
  asked = results;
  document.documentElement.classList.add("searching");
  try {
    await results.more();
  } catch (error) {
    if (asked === results && error.name !== "AbortError") failed(error);
    return;
  } finally {
    if (asked === results) document.documentElement.classList.remove("searching");
  }
  if (asked !== results) return;
  scrollTo({ top: 0, behavior: "instant" });
  $("grid").classList.toggle("nearest", !results.isRelevant);
  message(results);
  grid.show(results);
  document.title = `${address.query().get("q") ?? ""} qvsearch`.trim();
}

function failed(error) {
  if (notices.isEmpty()) return $("message").replaceChildren(...empty());
  const again = button("Try again", { onclick: run });
  const parts = [h("p", null, filters.plain(error.message)), again];
  if (error.status === 410 || error.status === 404) {
    const params = address.query();
    for (const name of ["upload", "like", "unlike"].filter((each) => params.has(each))) {
      const text = name === "upload" ? "Search without the picture" : "Search without the example";
      parts.push(button(text, { onclick: () => address.setAll(name, []) }));
      break;
    }
  }
  return $("message").replaceChildren(h("div", { class: "problem", role: "alert" }, ...parts));
}

function empty() {
  const commands = notices.current().libraries.map((each) => h("p", null, notices.command(each.command)));
  return [h("p", { class: "lead" }, "There is nothing here yet."), h("p", null, "Index a folder in a terminal:"), ...commands];
}

function message(results) {
  const params = address.query();
  const parts = [];
  if (results.count && results.isRelevant) parts.push(...summary(results, params));
  else if (results.count) parts.push(...nearest(params));
  else parts.push(...nothing(params));
  parts.push(...missing(results));
  if (!params.size) parts.push(...albums.row());
  $("message").replaceChildren(...parts);
}

function missing(results) {
  const known = notices.current().libraries.filter((each) => each.problem).map((each) => each.name);
  const names = Object.keys(results.leftOut).filter((name) => !known.includes(name));
  return names.map((name) => h("p", null, h("b", null, safe(name)), ` is left out: ${safe(results.leftOut[name])}`));
}

function summary(results, params) {
  const found = results.isWhole ? count(results.count, "file") : `more than ${results.count.toLocaleString()} files`;
  const order = filters.ORDERS[params.get("sort") ?? (address.hasQuery() ? "relevance" : "date")];
  return [h("p", { class: "quiet" }, `${found}, ${order}, in ${results.seconds.toFixed(2)} s`)];
}

function nearest(params) {
  const all = () => {
    params.set("all", "1");
    history.pushState(null, "", `/?${params}`);
    run();
  };
  return [
    h("p", { class: "lead" }, "Nothing matches."),
    h("p", null, "These are only the nearest. ", button("Show the whole ranking", { onclick: all })),
  ];
}

function nothing(params) {
  const isFiltered = address.FILTERS.some((name) => params.has(name));
  const text = isFiltered ? "No file passes these filters." : "There are no files.";
  const clear = () => address.go((kept) => address.FILTERS.forEach((name) => kept.delete(name)));
  const parts = [h("p", { class: "lead" }, text)];
  if (isFiltered) parts.push(h("p", null, button("Remove the filters", { onclick: clear })));
  return parts;
}
