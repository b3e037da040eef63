// Two lanes under one clock: the same prompt and seed, plain and adaptive; then the card with what came out.
const lanesBox = element.querySelector('[data-part="lanes"]');
const part = (name) => element.querySelector(`[data-part="${name}"]`);

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function lane(name, data) {
  const box = element.querySelector(`[data-lane="${name}"]`);
  const text = box.querySelector('[data-part="text"]');
  const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
  const whole = data.text;
  if (data.parts) {
    delete text.dataset.html;
    const [same, rest] = data.parts;
    const mark = document.createElement("mark");
    mark.textContent = rest;
    text.replaceChildren(document.createTextNode(same), mark);
  } else if (data.html) {
    if (text.dataset.html !== data.html) {
      text.innerHTML = text.dataset.html = data.html;  // escaped: app/view/markdown.py
      for (const code of text.querySelectorAll("pre")) code.tabIndex = 0;  // a long line is scrolled by keys, too
      for (const link of text.querySelectorAll("a")) { link.target = "_blank"; link.rel = "noopener noreferrer"; }
    }
  } else {
    delete text.dataset.html;
    put(text, whole);
  }
  if (atEnd) text.scrollTop = text.scrollHeight;
  put(box.querySelector('[data-part="speed"]'), data.speed || "–");
  put(box.querySelector('[data-part="clock"]'), data.clock);
  put(box.querySelector('[data-part="count"]'), data.count);
  put(box.querySelector('[data-part="detail"]'), data.detail);
  box.querySelector('[data-part="bar"]').style.width = `${Math.round(data.progress * 100)}%`;
  box.dataset.done = data.done ? "yes" : "no";
}

function draw() {
  const value = props.value;
  const open = Boolean(value && value.open);
  document.body.dataset.compare = open ? "open" : "closed";
  element.hidden = !open;
  if (!open) return;
  put(part("prompt"), value.prompt);
  put(part("status"), value.status);
  lane("plain", value.plain);
  lane("adaptive", value.adaptive);
  const card = part("card");
  card.hidden = !value.card;
  if (value.card) {
    card.dataset.kind = value.card.kind;
    card.dataset.gains = value.card.gains;
    put(part("card-ratio"), value.card.ratio);
    put(part("card-speeds"), value.card.speeds);
    put(part("card-verdict"), value.card.verdict);
    put(part("card-detail"), value.card.detail);
  }
}

part("close").addEventListener("click", () => trigger("collapse", {}));
watch("value", draw);
draw();
