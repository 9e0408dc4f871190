// Starts the page of the address, and the keys of all of it.

import { $ } from "./dom.js";
import * as selection from "./selection.js";

const PAGES = { "/duplicates": "./duplicates.js", "/clusters": "./clusters.js" };

function closeOne() {
  const popover = document.querySelector("[popover]:popover-open");
  if (popover) popover.hidePopover();
  else selection.clear();
}

function pressed(event) {
  const isTyping = event.target.matches("input:not([type=checkbox]), textarea, select");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const isCovered = document.querySelector("dialog[open]");
  if (event.key === "?") $("help").open || $("help").showModal();
  else if (event.key === "/" && !isCovered) toBox();
  else if (event.key === "Escape" && !isCovered) closeOne();
  else if (event.key === "ArrowDown" && event.target === document.body) page.focusFirst?.();
  else return;
  event.preventDefault();
}

function toBox() {
  $("q").focus();
  $("q").select();
}

document.addEventListener("keydown", pressed);
$("keys").addEventListener("click", () => $("help").showModal());
$("help").addEventListener("click", (event) => event.target.closest("button") && $("help").close());
for (const link of document.querySelectorAll("nav a")) {
  if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
}
const page = await import(PAGES[location.pathname] ?? "./search.js");
document.documentElement.dataset.page = location.pathname.slice(1) || "search";
$("q").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown" || !page.focusFirst) return;
  event.preventDefault();
  page.focusFirst();
});
page.begin();
