// Files for the message that is being written: by the button, dropped, or pasted; a long paste becomes one, too. The
// server reads them. Everything is set as text, never as markup.
const LONG_PASTE = 2000;  // characters; a shorter one is read at a glance in the box
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const reading = new Map();  // files on their way: a number -> the name
let refusals = [];
let number = 0, drawn = 0;
const here = () => window.slipstream.conversation || 0;

function chip(name, detail, acts) {
  const item = document.createElement("li");
  const title = document.createElement("b"), said = document.createElement("span");
  title.textContent = name;
  title.title = name;
  said.textContent = detail;
  item.append(title, said, ...acts);
  return item;
}

const button = (label, text, act) => window.slipstream.button(text, act, label);

function draw() {
  const value = props.value && typeof props.value === "object" ? props.value : { items: [], line: "", number: 0 };
  if (value.number < drawn) return;  // events may overtake each other
  drawn = value.number;
  const chips = value.items.map((item) => {
    const acts = [button(tr("attached.remove", { name: item.name }), "×", () => remove(item.id))];
    if (item.pasted) acts.unshift(button(tr("attached.into_message", { name: item.name }), tr("attached.as_text"), () => intoBox(item.id)));
    const made = chip(item.name, item.size, acts);
    made.title = item.detail;
    return made;
  });
  for (const name of reading.values()) {
    const made = chip(name, tr("attached.reading_now"), []);
    made.className = "reading";
    chips.push(made);
  }
  part("list").replaceChildren(...chips);
  part("list").hidden = !chips.length;
  say(part("line"), value.line, value.tone);
  part("refusals").replaceChildren(...refusals.map((sentence) => {
    const line = document.createElement("span");
    line.textContent = sentence;
    return line;
  }));
  if (refusals.length) part("refusals").append(button(tr("page.dismiss"), "×", () => { refusals = []; draw(); }));
  part("refusals").hidden = !refusals.length;
}

function say(node, text, tone) {
  node.hidden = !text;
  node.dataset.tone = tone || "";
  if (node.textContent !== text) node.textContent = text || "";
}

// What was pasted and cannot be attached stands in the message instead: nothing is lost.
function refused(sentence, paste) {
  refusals.push(sentence);
  if (paste) paste.text().then(append);
}

function append(text) {
  const box = window.gradioInternals.box();
  window.slipstream.write(box.value ? `${box.value}\n${text}` : text);
}

// One after the other, so that they stand in the order in which they were chosen.
async function attach(files, pasted) {
  refusals = [];
  const to = here(), chosen = [...files].map((file) => [++number, file.name || tr("attached.pasted_file"), file]);
  for (const [id, name] of chosen) reading.set(id, name);
  draw();
  for (const [id, name, file] of chosen) {
    try {
      const path = `/attachments/${to}?name=${encodeURIComponent(name)}${pasted ? "&pasted=1" : ""}`;
      const answer = await (await fetch(path, { method: "POST", body: file })).json();
      if (!answer.ok) refused(answer.message, pasted && file);
    } catch {
      refused(tr("attached.not_arrived", { name }), pasted && file);
    }
    reading.delete(id);
    draw();
    trigger("edit", {});
  }
}

async function remove(id) {
  try { await fetch(`/attachments/${id}/remove`, { method: "POST" }); } catch { /* the banner says it */ }
  trigger("edit", {});
  window.gradioInternals.box()?.focus();
}

// A paste that became an attachment becomes text again, behind what stands in the box.
async function intoBox(id) {
  const answer = await fetch(`/attachments/${id}/text`);
  if (!answer.ok) return;
  append(await answer.text());
  remove(id);
}

part("file").addEventListener("change", () => {
  attach(part("file").files, false);
  part("file").value = "";
});
document.addEventListener("click", (event) => {
  if (event.target.closest?.("#attach .attach")) part("file").click();
});

document.addEventListener("paste", (event) => {
  if (!event.target.closest?.("#box") || !event.clipboardData) return;
  const files = [...event.clipboardData.files], text = event.clipboardData.getData("text/plain");
  if (files.length && !text) attach(files, false);
  else if (text.length > LONG_PASTE) attach([new File([text], tr("attached.pasted_text"), { type: "text/plain" })], true);
  else return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);

// Files may be dropped anywhere on the page.
const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
let leaving = null;
document.addEventListener("dragover", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  document.body.dataset.dropping = "yes";
  clearTimeout(leaving);
  leaving = setTimeout(() => delete document.body.dataset.dropping, 400);
}, true);
document.addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  delete document.body.dataset.dropping;
  attach(event.dataTransfer.files, false);
}, true);

// A message does not leave without a file that is still being read.
const sends = (event) => event.type === "click" ? event.target.closest?.("#send, #compare")
  : event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target.closest?.("#box");
for (const kind of ["click", "keydown", "keypress"]) {
  window.addEventListener(kind, (event) => {
    if (!sends(event)) return;
    if (!reading.size) { refusals = []; return; }
    event.preventDefault();
    event.stopImmediatePropagation();
    say(part("line"), tr("attached.still_reading", { name: [...reading.values()][0] }), "warn");
  }, true);
}

watch("value", draw);
draw();
