// Panels over the page, opened by the buttons under the meters. What they show is set as text, never as markup.
(() => {
  window.slipstream.node = (tag, className, ...content) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...content.filter((part) => part !== null && part !== undefined));
    return node;
  };
  const node = window.slipstream.node;

  window.slipstream.button = (text, act, label) => {
    const made = node("button", "", text);
    made.type = "button";
    if (label) { made.setAttribute("aria-label", label); made.title = label; }
    made.addEventListener("click", act);
    return made;
  };

  // A dialog whose body `fill(body, all)` draws, for the open chat or for all of them.
  window.slipstream.panel = (id, title, fill) => {
    let dialog = null, all = false;
    const make = () => {
      const body = node("div", "panel-body");
      const one = window.slipstream.button(tr("page.this_chat"), () => show(false));
      const every = window.slipstream.button(tr("page.all_chats"), () => show(true));
      const scope = node("div", "scope", one, every);
      scope.setAttribute("role", "group");
      scope.setAttribute("aria-label", tr("page.which_chats"));
      const close = window.slipstream.button("×", () => dialog.close(), tr("page.close"));
      close.className = "close";
      dialog = node("dialog", "panel", node("header", "", node("h2", "", title), scope, close), body);
      dialog.id = id;
      dialog.setAttribute("aria-label", title);
      dialog.addEventListener("keydown", (event) => { if (event.key === "Escape") event.stopPropagation(); });
      dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
      dialog.addEventListener("close", () => { document.dispatchEvent(new CustomEvent("panel-closed", { detail: id })); });
      dialog.parts = { body, one, every };
      document.body.append(dialog);
    };
    const show = (forAll) => {
      const { body, one, every } = dialog.parts;
      all = forAll || !window.slipstream.conversation;
      one.disabled = !window.slipstream.conversation;
      one.setAttribute("aria-pressed", String(!all));
      every.setAttribute("aria-pressed", String(all));
      fill(body, all);
    };
    document.addEventListener("click", (event) => {
      if (!event.target.closest?.(`[data-panel="${id}"]`)) return;
      if (!dialog) make();
      if (!dialog.open) dialog.showModal();
      show(all);
    });
  };

  window.slipstream.ask = async (path, options) => {
    try {
      const answer = await fetch(path, { cache: "no-store", ...options });
      if (answer.ok) return answer.status === 204 ? {} : await answer.json();
      return { failure: await answer.text() };
    } catch { return { failure: tr("page.no_answer") }; }
  };

  // Escape closes the panel, and nothing below it.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing) return;
    const open = document.querySelector("dialog.panel[open]");
    if (!open) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    open.close();
  }, true);
})();
