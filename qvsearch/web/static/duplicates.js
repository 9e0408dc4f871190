// Near-duplicates side by side. Nothing is deleted; the list can be exported.

import { menuButton, runKey } from "./actions.js";
import { $, button, copy, download, entitle, h, onPlainClick, problem } from "./dom.js";
import * as server from "./server.js";
import { count, date, describe, exactPath, folderOf, kindName, nameOf, pathOf, safe, size } from "./text.js";
import * as viewer from "./viewer.js";

const AT_ONCE = 30; // groups that become elements when the end comes near
const WHY = { exact: "the very same", copy: "a copy", burst: "taken right after", shot: "of the same shot" };

export async function begin() {
  viewer.begin(null);
  entitle("Near-duplicates");
  const kind = new URLSearchParams(location.search).get("kind") ?? "";
  $("message").replaceChildren(h("p", { class: "quiet busy" }, "Looking for near-duplicates…"));
  let groups;
  try {
    const address = `/api/duplicates${kind ? `?kind=${encodeURIComponent(kind)}` : ""}`;
    groups = (await server.getWhenDone(address, () => {})).groups;
  } catch (error) {
    $("message").replaceChildren(problem(safe(error.message)));
    return;
  }
  head(groups);
  const list = h("ol", { class: "groups" });
  $("main").append(list);
  let drawn = 0;
  const end = h("div", { class: "end" });
  $("main").append(end);
  new IntersectionObserver((seen) => {
    if (!seen.some((each) => each.isIntersecting)) return;
    list.append(...groups.slice(drawn, drawn + AT_ONCE).map(group));
    drawn += AT_ONCE;
  }, { rootMargin: "1000px" }).observe(end);
  list.addEventListener("keydown", moved);
}

function head(groups) {
  if (!groups.length) {
    $("message").replaceChildren(h("p", { class: "lead" }, "No near-duplicates."));
    return;
  }
  const bytes = groups.reduce((sum, each) => sum + each.reclaimable, 0);
  const repeats = groups.flatMap((each) => each.items.slice(1)).filter((each) => !each.gone);
  const paths = repeats.map(exactPath).join("\n");
  const named = [
    ["Save list of repeats", "list", () => download("repeats.txt", `${paths}\n`)],
    ["Save all groups as JSON", "save", () => download("duplicates.jsonl", groups.map((each) => `${JSON.stringify(each)}\n`).join(""))],
    ["Copy paths of repeats", "copy", () => copy(paths, count(repeats.length, "path"))],
  ].map(([label, name, onclick]) => button(label, { name, text: label, onclick }));
  $("message").replaceChildren(
    h("p", null, `${count(groups.length, "group")}; the repeats take ${size(bytes)}. The best file of each group comes first. Nothing is deleted here.`),
    h("div", { class: "actions" }, ...named),
  );
}

function group(each) {
  const title = `${count(each.items.length, kindName(each.kind))}${each.reclaimable ? `, ${size(each.reclaimable)} in repeats` : ""}`;
  return h("li", { class: "group" }, h("h2", null, title), h("ul", { class: "members" }, ...each.items.map((item) => member({ kind: each.kind, ...item }))));
}

function member(record) {
  const facts = [record.width ? `${record.width} × ${record.height}` : null, record.bytes ? size(record.bytes) : null, date(record.taken)];
  const image = h("img", {
    alt: describe(record),
    loading: "lazy",
    src: server.thumbnail(record.id, 320),
    class: "shown",
  });
  image.addEventListener("error", () => image.replaceWith(h("span", { class: "nopicture" }, record.gone ? "missing" : "no picture")));
  const main = h("a", { class: "main", href: `#${record.id}` }, image);
  onPlainClick(main, () => viewer.view(record));
  main.addEventListener("keydown", (event) => runKey(event, record, viewer.view) && event.preventDefault());
  const badge = record.best ? h("span", { class: "badge best" }, "best") : h("span", { class: "badge" }, record.gone ? "missing" : (WHY[record.reason] ?? safe(record.reason)));
  return h(
    "li",
    { class: record.best ? "member best" : "member" },
    h("div", { class: "frame" }, main, badge, menuButton(record, viewer.view)),
    h("b", null, nameOf(record)),
    h("span", { class: "path" }, folderOf(record)),
    h("span", { class: "quiet" }, facts.filter(Boolean).join(" · ")),
    record.also ? h("span", { class: "quiet" }, `also: ${record.also.map((other) => pathOf(other)).join(", ")}`) : null,
  );
}

function moved(event) {
  if (!event.target.matches(".main") || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = [...event.currentTarget.querySelectorAll(".main")];
  const here = all.indexOf(event.target);
  const own = event.target.closest(".group");
  const next = {
    ArrowLeft: () => all[here - 1],
    ArrowRight: () => all[here + 1],
    ArrowUp: () => own.previousElementSibling?.querySelector(".main"),
    ArrowDown: () => own.nextElementSibling?.querySelector(".main"),
  }[event.key]?.();
  if (!next) return;
  event.preventDefault();
  next.focus();
}
