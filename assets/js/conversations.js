// The list of conversations: open, rename in place, delete with undo. Titles are set as text, never as markup.
const list = element.querySelector('[data-part="list"]');
const undo = element.querySelector('[data-part="undo"]');
let renaming = null;

function icon(name) {
  const paths = {
    rename: "M4 20h4L19 9l-4-4L4 16zM13.5 6.5l4 4",
    remove: "M5 7h14M10 7V5h4v2M7 7l1 13h8l1-13",
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
  field.setAttribute("aria-label", "New title");
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

function line(item, current) {
  const row = document.createElement("li");
  row.className = "conversation";
  if (item.id === current) row.classList.add("current");
  const open = document.createElement("button");
  open.type = "button";
  open.className = "conversation-open";
  if (item.id === current) open.setAttribute("aria-current", "page");
  const title = document.createElement("span");
  title.className = "conversation-title";
  title.textContent = item.title;
  open.append(title);
  if (item.snippet) {
    const snippet = document.createElement("span");
    snippet.className = "conversation-snippet";
    snippet.textContent = item.snippet;
    open.append(snippet);
  }
  open.addEventListener("click", () => {
    trigger("select", { id: item.id });
    window.slipstream.close("left");
  });
  row.append(
    open,
    button(`Rename ${item.title}`, "row-action", icon("rename"), () => rename(row, item)),
    button(`Delete ${item.title}`, "row-action", icon("remove"), () => trigger("delete", { id: item.id })),
  );
  return row;
}

function draw() {
  const value = props.value;
  if (!value || typeof value !== "object" || renaming !== null) return;
  const focused = document.activeElement?.closest?.(".conversation")?.dataset.id;
  const parts = [];
  for (const group of value.groups) {
    const heading = document.createElement("h3");
    heading.textContent = group.label;
    const rows = document.createElement("ul");
    for (const item of group.items) {
      const row = line(item, value.current);
      row.dataset.id = item.id;
      rows.append(row);
    }
    parts.push(heading, rows);
  }
  if (!parts.length) {
    const empty = document.createElement("p");
    empty.className = "conversation-empty";
    empty.textContent = value.empty;
    parts.push(empty);
  }
  list.replaceChildren(...parts);
  if (focused) list.querySelector(`[data-id="${focused}"] .conversation-open`)?.focus();
  undo.hidden = !value.undo;
  if (value.undo) {
    undo.querySelector("span").textContent = `“${value.undo.title}” was deleted.`;
    undo.querySelector("button").onclick = () => trigger("undo", { id: value.undo.id });
  }
}

watch("value", draw);
draw();
