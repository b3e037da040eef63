// Tells a screen reader an answer by the sentence, as it grows; the chat itself is silent, since it is drawn anew each time.
(() => {
  const EVERY_MS = 1000;
  let region = null, speaking = false, conversation = null;
  let at = 0, told = 0;  // of the rows of the answer the one that is being told, and how much of it

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
    if (conversation !== window.slipstream.conversation) {
      if (conversation) {  // it was left, and says nothing any more
        region.textContent = "";
        speaking = false;
      }
      conversation = window.slipstream.conversation;
    }
    if (!chat) return;
    for (const node of chat.querySelectorAll('[aria-live]:not([aria-live="off"])')) node.setAttribute("aria-live", "off");
    const running = document.body.dataset.running === "yes";
    if (running && !speaking) { at = told = 0; speaking = true; }
    if (!speaking) return;
    const all = window.gradioInternals.messageRows(chat), last = all[all.length - 1];
    if (last?.classList.contains("bot-row")) tellRows(window.slipstream.rowsOf(last), running);
    if (!running) speaking = false;
  }

  function tellRows(rows, running) {
    const said = [];
    for (; at < rows.length; at++, told = 0) {
      const text = rows[at].querySelector(".message")?.innerText ?? "", last = at === rows.length - 1;
      const end = running && last ? lastEnd(text) : text.length;
      said.push(text.slice(told, end));
      if (last) { told = Math.max(told, end); break; }
    }
    const words = said.join("\n").trim();
    if (words) region.textContent = words;
  }

  // Where the last whole sentence or line ends.
  function lastEnd(text) {
    const ends = [...text.matchAll(/[.!?…:;](?=\s)|[。！？]|\n/g)];
    return ends.length ? ends.at(-1).index + 1 : 0;
  }

  attach();
})();
