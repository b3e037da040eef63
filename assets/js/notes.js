// What belongs to single messages of the chat: figures under an answer, versions to page through, continue, the exact
// text to copy and to edit.
// The chat is Gradio's own; this adds one line inside each message's row, again after each change of the chat.
const chat = () => document.getElementById("chat");

const button = (label, text, act) => window.slipstream.button(text, act, label);

async function copy(note, node) {
  let said = tr("message.copied");
  try { await navigator.clipboard.writeText(note.text); } catch { said = copyOld(note.text) ? said : tr("message.not_copied"); }
  node.textContent = said;
  setTimeout(() => { node.textContent = tr("message.copy"); }, 1500);
}

// For a page that is not reached as localhost, where browsers have no clipboard.
function copyOld(text) {
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

// The message that is being edited; its row shows the editor in its place.
let editing = null;

function edit(note) {
  editing?.node.remove();
  const node = document.createElement("div");
  node.className = "editor";
  const field = document.createElement("textarea");
  field.value = note.text;
  field.rows = Math.min(12, note.text.split("\n").length + 1);
  field.setAttribute("aria-label", tr("message.edit_label"));
  const close = () => { editing = null; node.remove(); leave(); draw(); };
  const files = note.mine ? window.slipstream.editedFiles(note.attachments ?? []) : null;
  const submit = () => {
    if (files?.reading()) return;
    trigger("edit", { id: note.id, text: field.value, ...files?.changes() });
    close();
  };
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); submit(); }
    if (event.key === "Escape") { close(); focusEdit(note.id); }
  });
  node.append(field, ...(files ? [files.node] : []), button(tr("message.submit"), tr("message.submit"), submit), button(tr("message.cancel"), tr("message.cancel"), () => { close(); focusEdit(note.id); }));
  editing = { id: note.id, node };
  draw();
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
}

function leave() {
  for (const column of chat().querySelectorAll(".edited")) column.classList.remove("edited");
}

function focusEdit(id) {
  chat().querySelector(`.note[data-id="${id}"] .edit`)?.focus();
}

function build(note) {
  const foot = document.createElement("div");
  foot.className = "note";
  foot.dataset.id = note.id;
  if (note.versions) {
    const { at, of } = note.versions;
    const group = document.createElement("span");
    group.className = "versions";
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", tr("message.version", { at, of }));
    const back = button(tr("message.previous"), "‹", () => trigger("select", { id: note.id, offset: -1 }));
    const next = button(tr("message.next"), "›", () => trigger("select", { id: note.id, offset: 1 }));
    back.disabled = at <= 1;
    next.disabled = at >= of;
    const where = document.createElement("span");
    where.textContent = `${at}/${of}`;
    group.append(back, where, next);
    foot.append(group);
  }
  if (note.attachments) foot.append(window.slipstream.attached(note.attachments));
  if (note.figures) {
    const figures = document.createElement("span");
    figures.className = "figures";
    figures.textContent = note.figures;
    figures.title = note.detail || "";
    foot.append(figures);
  }
  if (note.remark) {
    const remark = document.createElement("span");
    remark.className = "remark";
    remark.dataset.tone = note.tone || "";
    remark.textContent = note.remark;
    foot.append(remark);
  }
  if (note.again) {
    const label = tr("message.with_penalty");
    foot.append(button(label, label, () => trigger("retry", { id: note.id })));
  }
  if (note.warmer) {
    const label = tr("message.warmer");
    foot.append(button(label, label, () => trigger("retry", { id: note.id, warmer: true })));
  }
  if (note.unanswered) foot.append(button(tr("message.answer_label"), tr("message.answer"), () => trigger("retry", { id: note.id, plain: true })));
  if (note.resume) foot.append(button(tr("message.continue_label"), tr("message.continue"), () => trigger("play", { id: note.id })));
  const acts = document.createElement("span");
  acts.className = "acts";
  if (note.text) {
    const node = button(tr("message.copy"), tr("message.copy"), () => copy(note, node));
    acts.append(node);
  }
  if (note.editable) {
    const node = button(tr("message.edit"), tr("message.edit"), () => edit(note));
    node.className = "edit";
    acts.append(node);
  }
  if (note.retry) acts.append(button(tr("message.retry"), tr("message.retry"), () => trigger("retry", { id: note.id, plain: true })));
  acts.append(button(tr("message.branch_label"), tr("message.branch"), () => trigger("copy", { id: note.id })));
  acts.append(button(tr("message.delete_label"), tr("message.delete"), () => trigger("delete", { id: note.id })));
  foot.append(acts);
  return foot;
}

// Who speaks in a row. One behind a row of the model's that has no note goes on with it, but for reasoning.
function name(row, before) {
  const mine = row.classList.contains("user-row"), who = mine ? tr("message.you") : tr("message.the_model");
  const more = !mine && Boolean(before?.classList.contains("bot-row")) && !before.querySelector(".thought-group");
  if (row.dataset.speaker === who && row.classList.contains("more") === more) return;
  row.dataset.speaker = who;
  row.classList.toggle("more", more);
  row.setAttribute("role", more ? "presentation" : "article");
  if (more) row.removeAttribute("aria-label");
  else row.setAttribute("aria-label", who);
}

function nameRows() {
  const rows = window.gradioInternals.messageRows(chat());
  const noted = new Set((Array.isArray(props.value) ? props.value : []).map((note) => note.row));
  rows.forEach((row, index) => name(row, index > 0 && !noted.has(index - 1) ? rows[index - 1] : null));
  return rows;
}
window.slipstream.nameRows = nameRows;

const keys = new WeakMap();  // a note as text, by which one sees whether it has changed
function keyOf(note) {
  if (!keys.has(note)) keys.set(note, JSON.stringify(note));
  return keys.get(note);
}

// Of a long chat the newest messages are drawn: a button above them brings earlier ones, and what was seen stays in sight.
let first = null;  // the message that stood below the button when it was pressed, or was read when Ctrl+F was
const toEarlier = window.slipstream.button("", () => {
  first = props.value[0].id;
  trigger("expand", {});
});
toEarlier.id = "earlier";

// The browser's search finds what is drawn: it begins with all messages being drawn, up to some thousands.
document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey || window.slipstream.letter(event) !== "f") return;
  if (!chat() || !Array.isArray(props.value) || !props.value[0]?.earlier) return;
  const top = chat().getBoundingClientRect().top, rows = [...window.gradioInternals.messageRows(chat())];
  const read = rows.findIndex((row) => row.getBoundingClientRect().bottom > top);
  first = props.value.find((note) => note.row >= read)?.id ?? null;
  trigger("expand", { all: true });
});

function showEarlier(rows, notes) {
  const row = rows[0], count = notes[0]?.earlier ?? 0;
  if (!row || !count) toEarlier.remove();
  else if (toEarlier.parentNode !== window.gradioInternals.messageColumn(row)) window.gradioInternals.messageColumn(row).prepend(toEarlier);
  if (first !== null && notes[0]?.id !== first) {
    const before = rows[notes.find((note) => note.id === first)?.row];
    requestAnimationFrame(() => before?.scrollIntoView({ block: "start" }));
    first = null;
  }
  const words = tr("message.earlier", { count });
  if (toEarlier.textContent !== words) toEarlier.textContent = words;
}

function draw() {
  const notes = props.value;
  if (!Array.isArray(notes)) return;
  if (!chat()) return;
  const rows = nameRows();
  const byRow = new Map(notes.map((note) => [note.row, note]));
  const scroll = window.gradioInternals.chatScroll(chat()), atEnd = followsEnd(scroll);
  showEarlier(rows, notes);
  rows.forEach((row, index) => {
    const note = byRow.get(index);
    if (note && note.id === window.slipstream.found?.message) setTimeout(() => {
      if (window.slipstream.found) window.slipstream.showFound(row);
    }, 150);
    const key = note ? keyOf(note) : "";
    if (note && editing === null && row.note?.isConnected && row.note.dataset.key === key) return;
    const column = window.gradioInternals.messageColumn(row);
    const present = column.querySelector(":scope > .note");
    const edited = editing !== null && note?.id === editing.id;
    for (const one of edited ? window.slipstream.rowsOf(row) : [row]) {
      window.gradioInternals.messageColumn(one).classList.toggle("edited", edited);
    }
    if (edited && editing.node.parentNode !== column) column.append(editing.node);
    if (present && present.dataset.key === key) return;
    present?.remove();
    if (!note) return;
    const foot = build(note);
    foot.dataset.key = key;
    row.note = foot;
    column.append(foot);
  });
  if (atEnd) scroll.scrollTop = scroll.scrollHeight;
}

// Who reads the end of a chat goes on seeing it where a note comes under it, or the lines below it grow.
let watched = null, height = 0;
const ends = (scroll) => scroll.scrollHeight - scroll.scrollTop - height < 40;
const resized = new ResizeObserver(() => {
  const atEnd = ends(watched);
  height = watched.clientHeight;
  if (atEnd) watched.scrollTop = watched.scrollHeight;
});

function followsEnd(scroll) {
  if (scroll !== watched) {
    resized.disconnect();
    watched = scroll;
    height = scroll?.clientHeight ?? 0;
    if (scroll) resized.observe(scroll);
  }
  return Boolean(scroll) && ends(scroll);
}

let asked = false;
function soon() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; draw(); });
}
watch("value", soon);
function attach() {
  if (!chat()) { requestAnimationFrame(attach); return; }
  new MutationObserver(soon).observe(chat(), { childList: true, subtree: true });
  draw();
}
attach();
