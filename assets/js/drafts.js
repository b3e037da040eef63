// What stands in the message box and was not sent is kept for each conversation: neither another chat nor a reload loses it.
(() => {
  const SOON = 400, AFTER_SENDING = 1500;  // milliseconds
  let timer = null;
  const kept = new Map();  // conversation -> the text that the server has
  const here = () => window.slipstream.conversation || 0;

  function keep() {
    clearTimeout(timer);
    const box = window.gradioInternals.box();
    const untouched = box && !kept.has(here()) && !box.value;
    if (!box || untouched || box.value === kept.get(here())) return;
    const at = here(), text = box.value;
    const notKept = () => { if (kept.get(at) === text) kept.set(at, null); };  // to be tried again
    kept.set(at, text);
    fetch(`/draft/${at}`, { method: "POST", body: text, keepalive: text.length < 20000 })
      .then((answer) => { if (!answer.ok) notKept(); }, notKept);
  }

  function soon(milliseconds) {
    clearTimeout(timer);
    timer = setTimeout(keep, milliseconds);
  }

  document.addEventListener("input", (event) => {
    if (!event.target.closest?.("#box")) return;
    if (!kept.has(here())) kept.set(here(), null);
    soon(SOON);
  });
  // What is being sent is no draft, unless it is refused and still stands there.
  const sends = (event) => event.type === "click" ? event.target.closest?.("#send, #compare")
    : event.key === "Enter" && !event.shiftKey && event.target.closest?.("#box");
  for (const kind of ["click", "keydown"]) {
    document.addEventListener(kind, (event) => {
      if (sends(event)) soon(AFTER_SENDING);
      else if (kind === "click" && event.target.closest?.("#new-chat, .conversation-open")) keep();
    }, true);
  }
  window.addEventListener("pagehide", keep);
  document.addEventListener("visibilitychange", () => { if (document.hidden) keep(); });
})();
