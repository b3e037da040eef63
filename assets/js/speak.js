// Tells a screen reader an answer by the sentence, as it grows; the chat itself is silent, since it is drawn anew each time.
(() => {
  const EVERY_MS = 1000;
  let region = null, told = 0, speaking = false;

  function attach() {
    if (!document.body) { document.addEventListener("DOMContentLoaded", attach); return; }
    region = document.createElement("div");
    region.id = "told";
    region.setAttribute("role", "status");
    region.setAttribute("aria-live", "polite");
    document.body.append(region);
    setInterval(tell, EVERY_MS);
  }

  function tell() {
    const chat = document.getElementById("chat");
    if (!chat) return;
    for (const node of chat.querySelectorAll('[aria-live]:not([aria-live="off"])')) node.setAttribute("aria-live", "off");
    const running = document.body.dataset.running === "yes";
    if (running && !speaking) { told = 0; speaking = true; }
    if (!speaking) return;
    const rows = window.gradioInternals.messageRows(chat), last = rows[rows.length - 1];
    const text = last?.classList.contains("bot-row") ? last.querySelector(".message")?.innerText ?? "" : "";
    const end = running ? lastEnd(text) : text.length;
    if (end > told) {
      region.textContent = text.slice(told, end).trim();
      told = end;
    }
    if (!running) speaking = false;
  }

  // Where the last whole sentence or line ends.
  function lastEnd(text) {
    const ends = [...text.matchAll(/[.!?…:;](?=\s)|[。！？]|\n/g)];
    return ends.length ? ends.at(-1).index + 1 : 0;
  }

  attach();
})();
