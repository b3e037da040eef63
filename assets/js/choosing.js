// Several conversations at once: chosen by Ctrl or Shift and a click, by X and Shift+arrows, or by "Select" where fingers
// are; and what is done with them. And what the list is narrowed to. conversations.js draws the rows.
window.slipstream.choosing = (element, trigger) => {
  const part = (name) => element.querySelector(`[data-part="${name}"]`);
  const act = (name) => part("chosen").querySelector(`[data-act="${name}"]`);
  const ids = new Set();
  let choosing = false, anchor = null, value = null;
  const items = () => (value?.groups ?? []).flatMap((group) => group.items);
  const these = () => items().filter((item) => ids.has(item.id));

  function set(on) {
    choosing = on;
    if (!on) { ids.clear(); anchor = null; fold("label"); fold("export"); }
    show();
  }

  function toggle(id) {
    choosing = true;
    if (!ids.delete(id)) ids.add(id);
    anchor = id;
    if (!ids.size) set(false);
    else show();
  }

  // From the row that was chosen last, else the open one, to this one.
  function extend(id) {
    const all = items().map((item) => item.id), from = all.indexOf(anchor ?? value.current), to = all.indexOf(id);
    if (to < 0) return;
    choosing = true;
    const start = from < 0 ? to : from;
    for (const each of all.slice(Math.min(start, to), Math.max(start, to) + 1)) ids.add(each);
    anchor ??= all[start];
    show();
  }

  function takes(event, id) {
    if (event.shiftKey) extend(id);
    else if (event.ctrlKey || event.metaKey || choosing) toggle(id);
    else return false;
    return true;
  }

  function mark(row, id) {
    const on = choosing && ids.has(id), open = row.querySelector(".conversation-open");
    row.classList.toggle("picked", on);
    if (choosing) open.setAttribute("aria-pressed", String(on));
    else open.removeAttribute("aria-pressed");
  }

  function send(name, more = {}) {
    trigger("apply", { ids: these().map((item) => item.id), act: name, ...more });
  }

  function fold(name, open = false) {
    part(`${name}-panel`).hidden = !open;
    act(name).setAttribute("aria-expanded", String(open));
    if (open && name === "label") part("label-name").focus();
  }

  const ACTS = {
    all: () => { for (const item of items()) ids.add(item.id); show(); },
    done: () => { set(false); part("choose").focus(); },
    pin: () => { send(these().every((item) => item.pinned) ? "unpin" : "pin"); set(false); },
    archive: () => { send(these().every((item) => item.archived) ? "unarchive" : "archive"); set(false); },
    delete: () => { send("delete"); set(false); },
    label: () => { fold("export"); fold("label", part("label-panel").hidden); },
    export: () => { fold("label"); fold("export", part("export-panel").hidden); },
  };

  function chip(name, count, on, press) {
    const node = document.createElement("button"), number = document.createElement("span");
    node.type = "button";
    node.textContent = name;
    node.title = name;
    number.textContent = count ?? "";
    if (count !== undefined) node.append(" ", number);
    node.setAttribute("aria-pressed", on);
    node.addEventListener("click", press);
    return node;
  }

  function replace(node, chips) {  // a node that is replaced while it is pressed gets no click
    const key = chips.map((each) => `${each.textContent}${each.getAttribute("aria-pressed")}`).join("|");
    if (node.dataset.key === key) return;
    node.dataset.key = key;
    const focused = [...node.children].indexOf(document.activeElement);
    node.replaceChildren(...chips);
    if (focused >= 0) (node.children[focused] ?? node.lastElementChild)?.focus();
  }

  function narrow(label, archive) {
    set(false);
    trigger("option_select", { label, archive });
  }

  function show() {
    for (const row of element.querySelectorAll(".conversation")) {
      if (row.querySelector(".conversation-open")) mark(row, Number(row.dataset.id));
    }
    element.classList.toggle("choosing", choosing);
    part("choose").setAttribute("aria-pressed", String(choosing));
    part("chosen").hidden = !choosing;
    const found = these();
    part("number").textContent = found.length ? tr("list.num_chosen", { count: found.length }) : tr("list.none_chosen");
    for (const name of ["pin", "archive", "label", "export", "delete"]) act(name).disabled = !found.length;
    act("pin").textContent = found.length && found.every((item) => item.pinned) ? tr("list.unpin") : tr("list.pin");
    act("archive").textContent = found.length && found.every((item) => item.archived) ? tr("list.unarchive") : tr("list.archive");
    const having = (name) => found.filter((item) => item.labels.includes(name)).length;
    replace(part("label-list"), (value?.shelves?.labels ?? []).map(({ name }) => {
      const all = having(name) === found.length;
      return chip(name, undefined, all ? "true" : having(name) ? "mixed" : "false", () => send(all ? "unlabel" : "label", { label: name }));
    }));
    for (const link of part("export-panel").children) {
      link.href = `/export/chosen.${link.dataset.kind}?ids=${found.map((item) => item.id).join(",")}`;
    }
  }

  function draw(now) {
    value = now;
    const there = new Set(items().map((item) => item.id));
    for (const id of ids) if (!there.has(id)) ids.delete(id);
    if (choosing && (now.trash || !there.size)) set(false);
    const shelves = now.shelves;
    part("shelves").hidden = !shelves || !(there.size || shelves.labels.length || shelves.archived || shelves.chosen);
    if (shelves) {
      const chips = shelves.labels.map(({ name, count, on }) => chip(name, count, String(on), () => narrow(on ? null : name, false)));
      if (shelves.archived || shelves.in_archive) {
        chips.push(chip(tr("list.archived"), shelves.archived, String(shelves.in_archive), () => narrow(null, !shelves.in_archive)));
      }
      replace(part("labels"), chips);
    }
    part("choose").hidden = !there.size;
    show();
  }

  part("choose").addEventListener("click", () => set(!choosing));
  part("chosen").addEventListener("click", (event) => ACTS[event.target.dataset?.act]?.());
  part("label-name").addEventListener("keydown", (event) => {
    event.stopPropagation();
    const name = event.target.value.trim();
    if (event.key === "Escape") { fold("label"); act("label").focus(); }
    if (event.key !== "Enter" || event.isComposing || !name) return;
    event.preventDefault();
    send("label", { label: name });
    event.target.value = "";
  });

  // Keys in a row: X chooses it, Shift and an arrow the next one, too, Ctrl+A all, Escape ends it.
  element.addEventListener("keydown", (event) => {
    const row = event.target.closest?.(".conversation");
    if (event.key === "Escape" && choosing) { event.stopPropagation(); set(false); return; }
    if (!row || value.trash || event.target.matches("input")) return;
    const id = Number(row.dataset.id);
    if (window.slipstream.letter(event) === "x" && !event.ctrlKey && !event.metaKey) toggle(id);
    else if (event.shiftKey && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      const all = [...element.querySelectorAll(".conversation")];
      const next = all[all.indexOf(row) + (event.key === "ArrowDown" ? 1 : -1)];
      anchor ??= id;
      if (next) { extend(Number(next.dataset.id)); window.slipstream.goToRow(next); }
    } else if ((event.ctrlKey || event.metaKey) && window.slipstream.letter(event) === "a") { choosing = true; ACTS.all(); }
    else if (event.key === "Delete" && choosing && ids.size) ACTS.delete();
    else return;
    event.preventDefault();
    event.stopPropagation();
    event.stopImmediatePropagation();
  }, true);

  return { takes, toggle, mark, draw };
};
