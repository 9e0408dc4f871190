// The box for words, its chips, and pictures of the query.

import * as address from "./address.js";
import { $, button, h, say } from "./dom.js";
import * as filters from "./filters.js";
import * as server from "./server.js";
import { safe } from "./text.js";

const WORDS = { not: "not", like: "like", unlike: "not like", upload: "like" };

export function begin() {
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    address.set("q", $("q").value.trim());
  });
  $("q").addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    if ($("q").value) $("q").value = "";
    else $("q").blur();
  });
  $("picture").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    if ($("file").files.length) join($("file").files[0]);
    $("file").value = "";
  });
  document.addEventListener("paste", (event) => {
    const picture = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
    if (!picture) return;
    event.preventDefault();
    join(picture);
  });
  receiveDrops();
}

function receiveDrops() {
  const page = document.documentElement;
  let depth = 0; // of elements that the drag is over
  const over = (by) => {
    depth = by === 0 ? 0 : depth + by;
    page.classList.toggle("dropping", depth > 0);
  };
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  page.addEventListener("dragenter", (event) => hasFiles(event) && over(1));
  page.addEventListener("dragleave", (event) => hasFiles(event) && over(-1));
  page.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  page.addEventListener("drop", (event) => {
    over(0);
    if (!hasFiles(event)) return;
    event.preventDefault();
    const [file, ...others] = event.dataTransfer.files;
    if (others.length) say("One picture can join a query; the first one does.");
    if (file) join(file);
  });
}

async function join(file) {
  const suffix = file.name.split(".").pop().toLowerCase();
  const type = file.type || (/^(heic|heif|avif|tiff?|jpe?g|png|webp)$/.test(suffix) ? `image/${suffix}` : "");
  if (!type.startsWith("image/")) return say(`${safe(file.name)} is not a picture`, true);
  document.documentElement.classList.add("sending");
  try {
    const { upload } = await server.upload(file, type);
    address.go((params) => {
      params.set("upload", upload);
      const words = $("q").value.trim();
      if (words) params.set("q", words);
    });
  } catch (error) {
    say(error.message, true);
  } finally {
    document.documentElement.classList.remove("sending");
  }
}

export function show() {
  const params = address.query();
  $("q").value = params.get("q") ?? "";
  const parts = [];
  for (const [name, value] of params) {
    if (name === "q" || name === "all") continue;
    parts.push(address.QUERY.includes(name) ? part(name, value) : filter(name, value));
  }
  const body = () => [
    h("p", { class: "quiet" }, "Leave out what fits these words."),
    filters.line("Words to leave out", "people", (text) => text && address.add("not", text)),
    h("p", { class: "quiet" }, "Leave out files that have these very words."),
    filters.line("Exact words that no hit has", "draft", (text) => text && address.add("without", text)),
  ];
  const not = filters.pill("Not", body, "Words to leave out");
  if (parts.length > 1) parts.push(button("Clear all", { class: "pill", onclick: clear }));
  $("chips").replaceChildren(...parts, not, ...filters.pills());
}

function clear() {
  address.go((params) => {
    for (const name of [...new Set(params.keys())]) if (name !== "q") params.delete(name);
  });
}

function chip(name, value, ...content) {
  const text = content.map((each) => each.textContent ?? each).join("");
  const remove = button(`Remove ${text || name}`, { name: "close", onclick: () => address.remove(name, value) });
  return h("span", { class: `chip ${name}` }, ...content, remove);
}

function part(name, value) {
  if (name === "not" || name === "without") return chip(name, value, h("b", null, `${name} `), safe(value));
  const source = name === "upload" ? server.uploadAddress(value) : server.thumbnail(value, 320);
  const image = h("img", { src: source, alt: name === "upload" ? "your picture" : "example" });
  image.addEventListener("error", () => image.replaceWith(h("span", null, "a picture")));
  return chip(name, value, h("b", null, `${WORDS[name]} `), image);
}

function filter(name, value) {
  return chip(name, value, filters.labelOf(name).show(safe(value), name));
}
