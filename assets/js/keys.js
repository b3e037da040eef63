// Keys in the search field and in the list of conversations, which is one Tab stop: arrows go through it.
(() => {
  const list = () => document.querySelector('#conversations [data-part="list"]');
  const rows = () => [...(list()?.querySelectorAll(".conversation") ?? [])];
  const buttons = (row) => [...row.querySelectorAll("button")];

  // The row that has the focus, else the open conversation's, else the first one, can be reached by Tab.
  window.slipstream.oneTabStop = () => {
    const all = rows();
    const stop = document.activeElement?.closest?.(".conversation") || all.find((row) => row.classList.contains("current")) || all[0];
    for (const row of all) {
      buttons(row).forEach((button, at) => { button.tabIndex = row === stop && at === 0 ? 0 : -1; });
    }
  };

  function go(node) {
    if (!node) return;
    for (const row of rows()) for (const button of buttons(row)) button.tabIndex = -1;
    node.tabIndex = 0;
    node.focus();
    node.scrollIntoView({ block: "nearest" });
  }

  window.slipstream.goToRow = (row) => go(buttons(row)[0]);

  function inSearch(event, field) {
    if (event.key === "Escape") {
      event.stopPropagation();
      if (field.value) write(field, "");
      else window.gradioInternals.box()?.focus();
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      go(rows()[0] && buttons(rows()[0])[0]);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (field.value.trim()) rows()[0]?.querySelector(".conversation-open")?.click();
    }
  }

  function write(field, text) {
    const kind = field instanceof HTMLTextAreaElement ? HTMLTextAreaElement : HTMLInputElement;
    Object.getOwnPropertyDescriptor(kind.prototype, "value").set.call(field, text);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function inRow(event, row) {
    const all = rows(), at = all.indexOf(row), here = buttons(row), choosing = row.closest(".choosing"), place = here.indexOf(event.target);
    if (place < 0) return;  // the field of a new title
    const to = {
      ArrowDown: () => all[at + 1] && buttons(all[at + 1])[0],
      ArrowUp: () => (at ? buttons(all[at - 1])[0] : null),
      Home: () => buttons(all[0])[0],
      End: () => buttons(all.at(-1))[0],
      ArrowRight: () => here[place + 1],
      ArrowLeft: () => here[place - 1],
    }[event.key];
    if (to) {
      event.preventDefault();
      if (event.key === "ArrowUp" && !at) window.gradioInternals.searchField()?.focus();
      else go(to());
    } else if (event.key === "Delete" && here.length > 2 && !event.repeat && !choosing) {
      here[2].click();
      if (!window.slipstream.inTrash()) go(buttons(all[at + 1] ?? all[at - 1] ?? row)[0]);
    } else if (event.key === "F2" && here.length > 2 && !window.slipstream.inTrash()) here[1].click();
  }

  document.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const field = window.gradioInternals.searchField();
    if (field && event.target === field) inSearch(event, field);
    else if (!event.shiftKey && !event.ctrlKey && !event.metaKey) {
      const row = event.target.closest?.("#conversations .conversation");
      if (row) inRow(event, row);
    }
  }, true);

  function rangesIn(row, words, attached = false) {
    const ranges = [];
    const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (!attached && node.parentElement.closest(".note, .message-buttons")) continue;
      const text = node.data.toLowerCase();
      for (const word of words) {
        const wanted = word.toLowerCase();
        for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
          const range = new Range();
          range.setStart(node, at);
          range.setEnd(node, Math.min(at + wanted.length, node.data.length));
          ranges.push(range);
        }
      }
    }
    return ranges;
  }

  // The words that were searched for are marked in the chat, and the message that holds them is scrolled to.
  // What is attached holds the words: it is unfolded, and marked when its text is there.
  function showAttached(row, words) {
    row.scrollIntoView({ block: "center" });
    row.addEventListener("filled", (event) => {
      const ranges = rangesIn(event.target, words, true);
      if (!ranges.length) { event.target.closest("details").open = false; return; }
      if (window.Highlight) CSS.highlights.set("found", new Highlight(...ranges));
      const box = ranges[0].getBoundingClientRect(), frame = event.target.getBoundingClientRect();
      event.target.scrollTop += box.top - frame.top - frame.height / 2;
      setTimeout(() => event.target.scrollIntoView({ block: "center" }), 150);  // once Gradio has scrolled to the end
    });
    row.querySelectorAll(".attached details").forEach((block) => { block.open = true; });
  }

  window.slipstream.showFound = (row) => {
    const { words } = window.slipstream.found;
    window.slipstream.found = null;
    const ranges = window.slipstream.rowsOf(row).flatMap((one) => rangesIn(one, words));
    if (!ranges.length) return showAttached(row, words);
    if (window.Highlight) CSS.highlights.set("found", new Highlight(...ranges));
    (ranges[0]?.startContainer.parentElement ?? row).scrollIntoView({ block: "center" });
  };

  // The keys, under ?
  const inList = (keys) => tr("keys.in_list", { keys });
  const KEYS = [
    [tr("keys.enter"), tr("keys.send")], [tr("keys.shift_enter"), tr("keys.line")], [tr("keys.esc"), tr("keys.stop")],
    [tr("keys.ctrl_k"), tr("keys.search")], ["Alt + N", tr("keys.new_chat")], ["Alt + P", tr("keys.private_chat")], ["Alt + M", tr("keys.models")],
    [inList("↑ ↓"), tr("keys.go_through")], [inList("← →"), tr("keys.to_buttons")], [inList(tr("keys.f2_delete")), tr("keys.rename_delete")],
    [inList(tr("keys.x_shift")), tr("keys.several")], ["?", tr("keys.these")],
  ];

  function showKeys() {
    let dialog = document.getElementById("keys");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.id = "keys";
      dialog.setAttribute("aria-label", tr("keys.title"));
      const table = document.createElement("dl");
      for (const [keys, what] of KEYS) {
        const term = document.createElement("dt"), said = document.createElement("dd");
        term.textContent = keys;
        said.textContent = what;
        table.append(term, said);
      }
      const close = document.createElement("button");
      close.type = "button";
      close.textContent = tr("page.close");
      close.addEventListener("click", () => dialog.close());
      dialog.append(table, close);
      document.body.append(dialog);
    }
    if (!dialog.open) dialog.showModal();
  }

  document.addEventListener("keydown", (event) => {
    const writes = event.target.closest?.("input, textarea, [contenteditable]");
    if (event.key === "?" && !writes && !event.isComposing) showKeys();
    else if (event.key === "Escape" && document.getElementById("keys")?.open) event.stopPropagation();
  }, true);

  // On a screen that is touched, Enter starts a line: the button sends.
  const touched = window.matchMedia("(hover: none) and (pointer: coarse)");
  for (const kind of ["keydown", "keypress"]) {
    window.addEventListener(kind, (event) => {
      if (event.key === "Enter" && touched.matches && event.target.closest?.("#box")) event.stopImmediatePropagation();
    }, true);
  }
  const hint = new MutationObserver(() => {
    const box = window.gradioInternals.box();
    if (!box) return;
    hint.disconnect();
    if (touched.matches || window.matchMedia("(max-width: 560px)").matches) box.placeholder = tr("keys.short_hint");
  });
  hint.observe(document, { childList: true, subtree: true });
})();
