// Title, model and certificate. Everything is set as text, never as markup.
const part = (name) => element.querySelector(`[data-part="${name}"]`);

const dismissed = new Set();
let openChat;
let passing = "";

function notices(sentences) {
  const box = part("notices");
  const shown = sentences.filter((sentence) => !dismissed.has(sentence));
  if (box.dataset.shown === JSON.stringify(shown)) return;  // a new copy would be read out again
  box.dataset.shown = JSON.stringify(shown);
  box.replaceChildren(...shown.map((sentence) => {
    const line = document.createElement("p");
    const text = document.createElement("span");
    const close = document.createElement("button");
    text.textContent = sentence;
    close.type = "button";
    close.textContent = "×";
    close.setAttribute("aria-label", tr("page.dismiss"));
    close.addEventListener("click", () => { dismissed.add(sentence); notices(sentences); });
    line.append(text, close);
    return line;
  }));
}

let drawn = 0;

function draw() {
  const head = props.value;
  if (!head || typeof head !== "object" || head.number < drawn) return;  // events may overtake each other
  drawn = head.number;
  window.slipstream.conversation = head.conversation;
  part("title").textContent = head.title;
  part("model").textContent = head.model;
  part("model").parentElement.title = [head.model, head.model_detail, tr("model.choose")].filter(Boolean).join("\n");
  const where = part("where");
  where.textContent = head.where.label;
  where.title = head.where.detail;
  where.dataset.kind = head.where.kind;
  document.body.dataset.thinking = head.thinking ? "yes" : "no";
  document.body.dataset.server = head.server ? "yes" : "no";
  for (const name of ["compare", "drafting"]) {
    const control = document.getElementById(name);
    if (control) control.title = (head.server ?? head.tips)[name];
  }
  const badge = part("badge");
  badge.hidden = !head.badge;
  if (head.badge) {
    badge.dataset.kind = head.badge.kind;
    part("badge-label").textContent = head.badge.label;
    part("badge-text").textContent = head.badge.explanation;
  }
  document.body.dataset.welcome = head.welcome;  // frame.css shows the words for this kind of model
  document.body.style.setProperty("--model-name", JSON.stringify(head.model));
  document.body.dataset.best = head.best ? "yes" : "no";
  document.body.style.setProperty("--best", JSON.stringify(head.best || ""));
  const sign = part("private");
  sign.hidden = !head.private;
  if (sign.textContent !== head.private) sign.textContent = head.private;
  document.body.dataset.private = head.private ? "yes" : "no";
  if (head.private) window.gradioInternals.tellWhenGone();
  if (head.passing !== passing) dismissed.delete(head.passing); // said again, it is news
  passing = head.passing;
  const begun = openChat === null && head.conversation; // the same chat, with its first message
  if (openChat !== undefined && openChat !== head.conversation && !begun) dismissed.add(passing);
  openChat = head.conversation;
  notices(head.notices || []);
  window.slipstream.chatShown();
  document.title = head.title === tr("common.new_chat") ? "Slipstream" : `${head.title} - Slipstream`;
  const exports = document.querySelector('#files [data-part="one"]');
  if (exports) exports.hidden = !head.conversation;
  for (const kind of ["md", "html", "json"]) {
    const link = exports?.querySelector(`[data-part="${kind}"]`);
    if (link) link.href = `/export/${head.conversation}.${kind}`;
  }
  const named = head.conversation && !head.private;  // the browser keeps addresses
  const hash = named ? `#c${head.conversation}` : "#";
  if (location.hash !== hash && !(hash === "#" && !location.hash)) {
    history.replaceState(null, "", location.pathname + (named ? hash : ""));
  }
}

element.querySelectorAll("[data-drawer]").forEach((button) => {
  button.addEventListener("click", () => window.slipstream.toggle(button.dataset.drawer));
});
watch("value", draw);
draw();
