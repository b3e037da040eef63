// What stands in the message box and was not sent is kept for each conversation: neither another chat nor a reload loses it.
(() => {
  const SOON = 400, AFTER_SENDING = 1500;  // milliseconds
  let timer = null;
  let sending = null;  // the text that was sent, until another one is typed
  let secret = null;  // what was typed into a private chat: no draft of another one, even if it still stands there
  let left = null;  // what stood in the box of the chat that is being left, until the new one is shown
  let leftAt = 0;  // that chat
  let mixed = null;  // what has come of it by typing since
  let wants = null;  // what was pressed meanwhile to send what was typed
  const kept = new Map();  // conversation -> the text that the server has
  const here = () => window.slipstream.conversation || 0;
  const isPrivate = () => ["soon", "yes"].includes(document.body.dataset.private);

  function keep() {
    clearTimeout(timer);
    if (isPrivate() || left !== null) return;  // nothing of a private chat is kept, nor what is the next chat's
    const box = window.gradioInternals.box();
    const untouched = box && !kept.has(here()) && !box.value;
    if (!box || untouched || box.value === secret || box.value === kept.get(here())) return;
    const at = here(), text = box.value;
    const notKept = () => { if (kept.get(at) === text) kept.set(at, null); };  // to be tried again
    const told = async (answer) => {
      if (!answer.ok) notKept();
      const sentence = answer.ok ? "" : await answer.text();
      if (at === here()) say(sentence);
    };
    kept.set(at, text);
    const path = `/draft/${at}${text === sending ? "?sent=1" : ""}`;  // such a one is a draft only if it is refused
    fetch(path, { method: "POST", body: text, keepalive: text.length < 20000 }).then(told).catch(notKept);
  }

  // Why what stands in the box is not kept, below it.
  function say(sentence) {
    let note = document.getElementById("unkept");
    if (!sentence) { note?.remove(); return; }
    if (!note) {
      note = document.createElement("p");
      note.id = "unkept";
      note.setAttribute("role", "status");
      document.querySelector("#composer").append(note);
    }
    if (note.textContent !== sentence) note.textContent = sentence;
  }

  function soon(milliseconds) {
    clearTimeout(timer);
    timer = setTimeout(keep, milliseconds);
  }

  document.addEventListener("input", (event) => {
    if (!event.target.closest?.("#box")) return;
    if (left !== null) { mixed = event.target.value; return; }
    sending = null;
    secret = isPrivate() ? window.gradioInternals.box()?.value || null : null;
    if (secret !== null) return;
    if (!kept.has(here())) kept.set(here(), null);
    soon(SOON);
  });
  // What is being sent is no draft, unless it is refused and still stands there.
  const sends = (event) => event.type === "click" ? event.target.closest?.("#send, #compare")
    : event.key === "Enter" && !event.shiftKey && event.target.closest?.("#box");
  for (const kind of ["click", "keydown"]) {
    document.addEventListener(kind, (event) => {
      if (sends(event)) {
        sending = window.gradioInternals.box()?.value;
        soon(AFTER_SENDING);
      } else if (kind === "click" && event.target.closest?.("#new-chat, #private-chat, .conversation-open")) {
        keep();
        say("");
        if (event.target.closest("#new-chat, #private-chat") && !window.slipstream.holdsPrivateWords()) leave();
      }
    }, true);
  }

  // What is typed before a new chat is shown is that chat's: the server's answer empties the box, and then it comes back.
  const PATIENCE = 10_000;  // milliseconds, after which no new chat is coming
  let leaving = null;
  function leave() {
    left = mixed = window.gradioInternals.box()?.value ?? null;
    leftAt = here();
    clearTimeout(leaving);
    leaving = setTimeout(() => {
      end();
      if (!kept.has(here())) kept.set(here(), null);
      keep();  // what was typed is this chat's after all
    }, PATIENCE);
  }

  function end() {
    const press = wants;
    left = mixed = wants = null;
    clearTimeout(leaving);
    if (press) setTimeout(() => press.click());
  }

  function typedSince(before, now) {
    let start = 0, behind = 0;
    const most = Math.min(before.length, now.length);
    while (start < most && before[start] === now[start]) start += 1;
    while (behind < most - start && before.at(-1 - behind) === now.at(-1 - behind)) behind += 1;
    return now.slice(start, now.length - behind);
  }

  // The header shows a chat; the box, where anything was typed into it, follows at once.
  window.slipstream.chatShown = () => {
    if (leftAt && leftAt === here()) return;  // the old chat, once more
    let tries = 0;
    (function look() {
      const box = window.gradioInternals.box();
      if (left === null || !box) return;
      const typed = typedSince(left, mixed);
      if (!typed) { end(); return; }
      if (box.value === mixed) { if ((tries += 1) < 60) setTimeout(look, 16); return; }
      const text = box.value + typed;
      left = null;
      window.slipstream.write(text);
      end();
    })();
  };

  for (const kind of ["click", "keydown", "keypress"]) {
    window.addEventListener(kind, (event) => {
      if (left === null || event.isComposing) return;
      const press = event.type === "click" ? event.target.closest?.("#send, #compare")
        : event.key === "Enter" && !event.shiftKey && event.target.closest?.("#box") && document.querySelector("#send");
      if (!press) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      wants = press;
    }, true);
  }
  window.addEventListener("pagehide", keep);
  document.addEventListener("visibilitychange", () => { if (document.hidden) keep(); });
})();
