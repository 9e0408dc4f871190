// What can be done with a hit: by menu, buttons and keys.

import * as address from "./address.js";
import { $, button, copy, h, icon, say, showBelow } from "./dom.js";
import * as selection from "./selection.js";
import * as server from "./server.js";
import { exactPath, nameOf } from "./text.js";

async function asked(request, done) {
  try {
    await request;
    say(done);
  } catch (error) {
    say(error.message, true);
  }
}

const ACTIONS = [
  {
    label: "Open",
    icon: "open",
    key: "o",
    run: (record) => asked(server.open(record), `Opened ${nameOf(record)}`),
  },
  {
    label: "Show in folder",
    icon: "folder",
    key: "f",
    run: (record) => asked(server.reveal(record.id), `Shown ${nameOf(record)} in its folder`),
  },
  { label: "Copy path", icon: "copy", key: "c", run: (record) => copy(exactPath(record), "Path") },
  { label: "More like this", icon: "more", key: "m", run: (record) => address.add("like", record.id) },
  { label: "Not like this", icon: "less", key: "n", run: (record) => address.add("unlike", record.id) },
  { label: "Why?", icon: "why", key: "w", needsQuery: true, run: (record, view) => view(record, true) },
  {
    label: "Select",
    icon: "check",
    key: "s",
    isOn: (record) => selection.has(record.id),
    run: (record) => selection.toggle(record),
  },
];

const isPossible = (action) => !action.needsQuery || address.hasQuery();

export const possible = () => ACTIONS.filter(isPossible);

// Runs the action of a key; `view` opens a record. Returns whether there is one.
export function runKey(event, record, view) {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  const action = possible().find((each) => each.key === event.key.toLowerCase());
  action?.run(record, view);
  return action !== undefined;
}

function showMenu(record, anchor, view) {
  const menu = $("menu");
  const items = possible().map((action) => {
    const item = button(action.label, { name: action.icon, text: action.label, role: "menuitem" });
    item.append(h("kbd", null, action.key));
    item.addEventListener("click", () => {
      menu.hidePopover();
      anchor.focus();
      action.run(record, view);
    });
    return item;
  });
  menu.replaceChildren(...items);
  showBelow(menu, anchor);
  items[0].focus();
  menu.onkeydown = (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const here = items.indexOf(document.activeElement);
    items[(here + by + items.length) % items.length].focus();
  };
}

export const menuButton = (record, view) => {
  const opener = h(
    "button",
    { type: "button", class: "round", "aria-haspopup": "menu", title: "Actions" },
    icon("dots"),
    h("span", { class: "hidden" }, `Actions for ${nameOf(record)}`),
  );
  opener.addEventListener("click", () => showMenu(record, opener, view));
  return opener;
};
