// The speed line above the message box. It holds the value; the meters beside the chat are drawn from it too.
// Values are cumulative: updates may merge, and drawing the newest one is always enough.
const $ = (name) => element.querySelector(`[data-part="${name}"]`);
const far = (name) => document.querySelector(`#meters [data-part="${name}"]`);

function put(node, text) {
  if (node && node.textContent !== text) node.textContent = text;
}

function plot(canvas, lengths, sizes) {
  const style = getComputedStyle(canvas);
  const accent = style.getPropertyValue("--accent").trim();
  const faint = style.getPropertyValue("--draft").trim();
  const line = style.getPropertyValue("--line").trim();
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const step = 6, bar = 4, floor = height - 1;
  const room = Math.floor(width / step);
  const from = Math.max(0, lengths.length - room);
  const top = Math.max(4, ...sizes.slice(from));
  const unit = (height - 6) / top;
  pen.fillStyle = line;
  pen.fillRect(0, floor, width, 1);
  for (let i = from; i < lengths.length; i++) {
    const x = width - (lengths.length - i) * step + 1;
    const size = sizes[i] * unit, accepted = lengths[i] * unit;
    if (sizes[i] > 0) {
      pen.strokeStyle = faint;
      pen.lineWidth = 1;
      pen.strokeRect(x + 0.5, floor - size + 0.5, bar - 1, Math.max(size - 0.5, 1));
    }
    pen.fillStyle = accent;
    if (lengths[i] > 0) pen.fillRect(x, floor - accepted, bar, accepted);
    else if (sizes[i] === 0) pen.fillRect(x + 1, floor - 2, 2, 2);
  }
}

function draw() {
  let live = props.value;
  if (!live || typeof live !== "object") return;
  document.body.dataset.running = live.running ? "yes" : "no";
  element.dataset.phase = live.phase;
  put($("sentence"), live.sentence);
  $("loop").hidden = live.message_id === null || live.message_id === undefined;
  const meters = document.getElementById("meters");
  if (meters) meters.dataset.looping = live.looping ? "yes" : "no";
  if (meters) meters.dataset.gains = live.gains ? "yes" : "no";
  put($("speed"), live.speed ? tr("figure.tokens_per_s", { value: live.speed }) : "");
  const times = live.speedup ? tr("live.times", { factor: live.speedup }) : "";
  put($("speedup"), times && live.speedup_note ? tr("live.times_note", { factor: live.speedup, note: live.speedup_note }) : times);
  const bar = $("progress");
  bar.hidden = live.progress === null || live.progress === undefined;
  if (!bar.hidden) bar.firstElementChild.style.width = `${Math.round(live.progress * 100)}%`;
  const figures = { speed: live.speed, speedup: live.ttft || times,
                    per_round: live.per_round, draft: live.draft, memory: live.memory };
  for (const [name, figure] of Object.entries(figures)) put(far(name), figure || "–");
  const fast = live.slower ? tr("live.slower") : tr("meters.speedup");
  put(far("speedup_note"), live.ttft ? tr("live.ttft") : live.speedup_note ? tr("live.speedup_note", { words: fast, note: live.speedup_note }) : fast);
  for (const [name, usual] of [["per_round_note", tr("meters.per_round")], ["draft_note", tr("meters.draft")]]) {
    put(far(name), live[name] || usual);
  }
  const served = far("served");
  if (served) served.hidden = !live.served;
  put(served, live.served || "");
  const memory = far("memory-row");
  if (memory) memory.hidden = !live.memory;
  const context = far("context-row");
  if (context) {
    context.hidden = !live.context;
    context.dataset.full = live.context_share > 0.85 ? "yes" : "no";
    if (live.context_tip) context.title = live.context_tip;
    put(far("context"), live.context || "");
    far("context-bar").style.width = `${Math.round(100 * (live.context_share || 0))}%`;
  }
  const canvas = far("plot");
  if (canvas) {
    const lengths = numbers(live.lengths);
    plot(canvas, lengths, numbers(live.sizes));
    const label = live.plot_label || tr("meters.no_rounds");
    if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
    const empty = far("plot-empty");
    if (empty) empty.hidden = lengths.length > 0;
  }
  acknowledge(live.update);
}

$("loop-again").addEventListener("click", (event) => {
  if (event.detail < 2 && props.value.message_id) trigger("retry", { id: props.value.message_id });
});

// The next update is sent when this one is drawn: see app/page/pace.py.
let drawn = "", acknowledging = false;
function acknowledge(update) {
  if (!update || update.join(" ") === drawn || acknowledging) return;
  acknowledging = true;
  const now = () => {
    drawn = (props.value.update || update).join(" ");
    acknowledging = false;
    fetch("/drawn", { method: "POST", body: drawn }).catch(() => { /* page.js says that nobody answers */ });
  };
  if (document.hidden) setTimeout(now);
  else requestAnimationFrame(() => setTimeout(now));
}

function numbers(text) {
  return text ? text.split(",").map(Number) : [];
}

watch("value", draw);
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
window.addEventListener("resize", draw);
draw();
setTimeout(draw, 300);
