// The list of conversations, or the trash: open, rename in place, delete, bring back. Titles are set as text, never as
// markup. keys.js moves through the rows.
const list = element.querySelector('[data-part="list"]');
const undo = element.querySelector('[data-part="undo"]');
const trashHead = element.querySelector('[data-part="trash-head"]');
const trashEmpty = element.querySelector('[data-part="trash-empty"]');
let renaming = null;

function icon(name) {
  const paths = {
    rename: "M4 20h4L19 9l-4-4L4 16zM13.5 6.5l4 4",
    remove: "M5 7h14M10 7V5h4v2M7 7l1 13h8l1-13",
    restore: "M9 14L4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
    choose: "M5 5h14v14H5zM8.5 12l2.5 2.5 4.5-5",
  };
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", paths[name]);
  svg.append(path);
  return svg;
}

function button(label, className, content, act) {
  const node = document.createElement("button");
  node.type = "button";
  node.className = className;
  node.setAttribute("aria-label", label);
  node.title = label;
  node.append(content);
  node.addEventListener("click", act);
  return node;
}

function rename(row, item) {
  renaming = item.id;
  const field = document.createElement("input");
  field.className = "conversation-name";
  field.value = item.title;
  field.maxLength = 200;
  field.setAttribute("aria-label", tr("list.new_title"));
  let done = false;
  const finish = (keep) => {
    if (done) return;
    done = true;
    renaming = null;
    const title = field.value.trim();
    if (keep && title && title !== item.title) trigger("edit", { id: item.id, title });
    draw();
  };
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") finish(true);
    if (event.key === "Escape") finish(false);
  });
  field.addEventListener("blur", () => finish(true));
  row.replaceChildren(field);
  field.focus();
  field.select();
}

// The text with what was searched for marked in it.
function marked(text, words) {
  const folded = text.toLowerCase(), parts = [];
  if (folded.length !== text.length) return [text];  // some letters change their length
  for (let at = 0; at < text.length;) {
    const hits = words.map((word) => ({ from: folded.indexOf(word.toLowerCase(), at), length: word.length })).filter(({ from }) => from >= 0);
    if (!hits.length) { parts.push(text.slice(at)); break; }
    const { from, length } = hits.reduce((one, other) => (other.from < one.from ? other : one));
    const mark = document.createElement("mark");
    mark.textContent = text.slice(from, from + length);
    parts.push(text.slice(at, from), mark);
    at = from + length;
  }
  return parts;
}

// The buttons of a row lie over the end of its title, where the pointer or the focus is.
function actions(...buttons) {
  const node = document.createElement("span");
  node.className = "row-actions";
  node.append(...buttons);
  return node;
}

function line(item) {
  const row = document.createElement("li");
  row.className = "conversation";
  const open = document.createElement("button");
  open.type = "button";
  open.className = "conversation-open";
  const title = document.createElement("span");
  title.className = "conversation-title";
  title.textContent = item.title;
  open.append(title);
  if (item.snippet) {
    const snippet = document.createElement("span");
    snippet.className = "conversation-snippet";
    snippet.append(...marked(item.snippet, shown.words ?? []));
    open.append(snippet);
  }
  const told = [...(item.archived && !shown.shelves?.in_archive ? [tr("list.archived")] : []), ...(item.labels ?? [])];
  if (told.length) {
    const labels = document.createElement("span");
    labels.className = "conversation-labels";
    labels.textContent = told.join(" · ");
    open.append(labels);
  }
  row.dataset.id = item.id;
  if (shown.trash) return deletedLine(row, open, item);
  open.addEventListener("click", (event) => {
    if (chosen.takes(event, item.id)) return;
    if (item.message) window.slipstream.found = { message: item.message, words: shown.words };
    trigger("select", { id: item.id, ...(item.message && { message: item.message }) });
    window.slipstream.close("left");
  });
  row.append(open, actions(
    button(tr("list.rename_one", { title: item.title }), "row-action", icon("rename"), () => { kept.delete(item.id); rename(row, item); }),
    button(tr("list.delete_one", { title: item.title }), "row-action", icon("remove"), () => trigger("delete", { id: item.id })),
    button(tr("list.select_one", { title: item.title }), "row-action", icon("choose"), () => chosen.toggle(item.id)),
  ));
  return row;
}

function deletedLine(row, open, item) {
  const restore = () => trigger("undo", { id: item.id });
  open.addEventListener("click", restore);
  open.title = tr("list.bring_back");
  const node = button(tr("list.delete_for_good", { title: item.title }), "row-action", icon("remove"), (event) => sure(event, node, () => trigger("clear", { id: item.id })));
  row.append(open, actions(button(tr("list.bring_back_one", { title: item.title }), "row-action restore", icon("restore"), restore), node));
  return row;
}

// What cannot be undone takes a second press within three seconds.
function sure(event, node, act) {
  if (node.dataset.sure) {
    if (event.detail > 1) return;  // a double click
    delete node.dataset.sure;
    act();
    return;
  }
  const label = node.getAttribute("aria-label") || "", content = [...node.childNodes];
  node.dataset.sure = "yes";
  node.textContent = tr("list.sure");
  setTimeout(() => {
    delete node.dataset.sure;
    node.replaceChildren(...content);
    if (label) node.setAttribute("aria-label", label);
  }, 3000);
  if (label) node.setAttribute("aria-label", tr("list.press_again", { label }));
}

// What is on the page already keeps its node: a node that is replaced while it is pressed gets no click.
const kept = new Map();  // conversation -> its row and what it shows
const groups = new Map();  // label -> heading and rows

function rowOf(item, current) {
  const shows = JSON.stringify([item, shown.trash, item.snippet && shown.words, item.archived && shown.shelves?.in_archive]);
  if (kept.get(item.id)?.shows !== shows) kept.set(item.id, { shows, row: line(item) });
  const row = kept.get(item.id).row;
  row.classList.toggle("current", current);
  chosen.mark(row, item.id);
  const open = row.querySelector(".conversation-open");
  if (current) open.setAttribute("aria-current", "page");
  else open.removeAttribute("aria-current");
  return row;
}

function groupOf(label) {
  if (!groups.has(label)) {
    const heading = document.createElement("h3");
    heading.textContent = label;
    groups.set(label, { heading, rows: document.createElement("ul") });
  }
  return groups.get(label);
}

function arrange(parent, nodes) {
  for (const node of [...parent.children]) if (!nodes.includes(node)) node.remove();
  nodes.forEach((node, at) => {
    if (parent.children[at] !== node) parent.insertBefore(node, parent.children[at] || null);
  });
}

let shown = null;
const AT_ONCE = 40;  // rows: more than are in sight; the others follow when nothing else is to be done
let whole = null;  // the number of the list that is drawn to its end
let drawnWords = null;  // what was searched for in that

function later(value) {
  const rest = () => {
    if (shown.number !== value.number) return;
    whole = value.number;
    draw();
  };
  if (window.requestIdleCallback) requestIdleCallback(rest, { timeout: 500 });
  else setTimeout(rest);
}
const chosen = window.slipstream.choosing(element, trigger);

// What can be undone is said until it is put away, or for a minute in which nobody turns to it.
const SAID_MS = 60_000;
let offered = "", putAway = false, saidUntil = 0;

function offerUndo(said) {
  if (said !== offered) {
    offered = said;
    putAway = false;
    clearTimeout(saidUntil);
    if (said) saidUntil = setTimeout(fade, SAID_MS);
  }
  undo.hidden = !said || putAway;
}

function fade() {
  if (undo.matches(":hover, :focus-within")) { saidUntil = setTimeout(fade, SAID_MS); return; }
  putAway = true;
  undo.hidden = true;
}

undo.querySelector('[data-part="undo-close"]').addEventListener("click", () => {
  putAway = true;
  undo.hidden = true;
  list.querySelector(".conversation-open[tabindex='0'], .conversation-open")?.focus();
});

function draw() {
  const sent = props.value;  // events may overtake each other: an older list is not shown
  if (sent && typeof sent === "object" && !(shown && sent.number < shown.number)) shown = sent;
  if (!shown || renaming !== null) return;
  const value = shown;
  const words = JSON.stringify(value.words ?? null);
  let room = words === drawnWords || whole === value.number ? Infinity : AT_ONCE;
  let cut = false;
  const focused = document.activeElement?.closest?.(".conversation")?.dataset.id;
  const parts = [];
  for (const group of value.groups) {
    cut ||= group.items.length > room;
    if (room <= 0) break;
    const { heading, rows } = groupOf(group.label);
    arrange(rows, group.items.slice(0, room).map((item) => rowOf(item, item.id === value.current)));
    room -= group.items.length;
    parts.push(heading, rows);
  }
  if (cut) later(value);
  else drawnWords = words;
  if (!cut && value.note) {
    const note = document.createElement("p");
    note.className = "conversation-note";
    note.textContent = value.note;
    parts.push(note);
  }
  arrange(list, parts);
  if (focused && !document.activeElement?.closest?.(".conversation")) {
    list.querySelector(`[data-id="${focused}"] .conversation-open`)?.focus();
  }
  chosen.draw(value);
  window.slipstream.oneTabStop?.(list);
  trashHead.hidden = !value.trash;
  trashEmpty.hidden = !value.groups.length;
  offerUndo(value.undo);
  undo.classList.toggle("leaves", Boolean(value.undo_leaves));
  if (value.undo) {
    const said = undo.querySelector("span");
    if (said.textContent !== value.undo) said.textContent = value.undo;
    said.title = value.undo;
    undo.querySelector('[data-part="undo-do"]').onclick = () => trigger("undo", {});
  }
}

element.querySelector('[data-part="trash-back"]').addEventListener("click", () => trigger("collapse", {}));
trashEmpty.addEventListener("click", (event) => sure(event, trashEmpty, () => trigger("clear", {})));
window.slipstream.showTrash = () => trigger("expand", {});
window.slipstream.inTrash = () => shown.trash;
watch("value", draw);
draw();
