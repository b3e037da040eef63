// A private chat is gone when its page leaves it: a question comes first where that would lose words.
(() => {
  const LEAVES = "#new-chat, #private-chat, #conversations .conversation-open, #conversations .undo.leaves [data-part='undo-do'], #conversations .row-action.restore";
  const isPrivate = () => document.body.dataset.private === "yes";
  const holdsWords = () => isPrivate() && Boolean(
    document.querySelector("#chat .message-row, #attachments li") || window.gradioInternals.box()?.value.trim());
  window.slipstream.holdsPrivateWords = holdsWords;

  let dialog = null, leaving = false;
  function ask(target) {
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.id = "leave";
      dialog.setAttribute("aria-labelledby", "leave-title");
      const title = document.createElement("h2"), said = document.createElement("p"), row = document.createElement("div");
      title.id = "leave-title";
      title.textContent = tr("private.leave_title");
      said.textContent = tr("private.leave_said");
      row.className = "buttons";
      for (const [act, word] of [["stay", tr("private.stay")], ["leave", tr("private.leave")]]) {
        const node = document.createElement("button");
        node.type = "button";
        node.textContent = word;
        node.addEventListener("click", () => dialog.close(act));
        row.append(node);
      }
      dialog.append(title, said, row);
      dialog.addEventListener("keydown", (event) => { if (event.key === "Escape") event.stopPropagation(); });
      dialog.addEventListener("close", () => {
        if (dialog.returnValue !== "leave") return;
        leaving = true;
        dialog.target.click();
        leaving = false;
      });
      document.body.append(dialog);
    }
    dialog.returnValue = "";
    dialog.target = target;
    dialog.showModal();
  }

  // A click on a chat that chooses it among several opens nothing (choosing.js).
  const chooses = (event, target) => target.matches(".conversation-open")
    && (event.ctrlKey || event.metaKey || event.shiftKey || target.closest(".choosing"));
  document.addEventListener("click", (event) => {
    const target = event.target.closest?.(LEAVES);
    if (!target || chooses(event, target)) return;
    if (leaving || !holdsWords()) {
      if (target.matches("#private-chat")) {  // what is typed from now on is private, although the header comes later
        document.body.dataset.private = "soon";
        window.gradioInternals.tellWhenGone();
      }
      if (target.matches("#new-chat, #private-chat")) window.slipstream.close("left");
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    ask(target);
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.altKey && !event.ctrlKey && event.code === "KeyP") {
      event.preventDefault();
      document.querySelector("#private-chat")?.click();
    }
  });

  window.addEventListener("beforeunload", (event) => { if (holdsWords()) event.preventDefault(); });
  window.addEventListener("pagehide", () => {
    if (isPrivate()) fetch(`/private/${window.slipstream.conversation}/leave`, { method: "POST", keepalive: true }).catch(() => {});
  });
  // A page that comes back out of the browser's cache shows what is forgotten.
  window.addEventListener("pageshow", (event) => { if (event.persisted && isPrivate()) location.reload(); });
})();
