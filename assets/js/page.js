// The whole page: drawers on narrow screens, keyboard, theme. Loaded once, in the head.
(() => {
  const narrow = { left: "(max-width: 860px)", right: "(max-width: 1180px)" };
  const folded = (side) => `slipstream-${side}`;
  const isDrawer = () => window.matchMedia(narrow.left).matches;  // else what is open stands beside the chat
  const isNarrow = (side) => window.matchMedia(narrow[side]).matches;

  // All rows of the chat that an answer takes, of which this is one: a long one is drawn in several (notes.js marks them).
  function rowsOf(row) {
    let first = row;
    while (first.classList.contains("more") && first.previousElementSibling) first = first.previousElementSibling;
    const rows = [first];
    while (rows.at(-1).nextElementSibling?.classList.contains("more")) rows.push(rows.at(-1).nextElementSibling);
    return rows;
  }

  // The letter of a key; by its place, as browsers take it, where another alphabet than Latin is written.
  function letter({ key, code }) {
    const other = /^(?!\p{Script=Latin})\p{L}$/u.test(key);
    return (other ? code.replace("Key", "") : key).toLowerCase();
  }

  function apply(side, open) {
    document.body.dataset[side] = open ? "open" : "closed";
    document.querySelectorAll(`[data-drawer="${side}"]`).forEach((node) => {
      node.setAttribute("aria-expanded", String(open));
    });
  }

  function remembered(side) {
    try { return localStorage.getItem(folded(side)) !== "closed"; } catch { return true; }
  }

  function settle(side) {
    apply(side, isNarrow(side) ? false : remembered(side));
  }

  window.slipstream = {
    letter,
    toggle(side) {
      const other = side === "left" ? "right" : "left";
      const hidden = side === "left" && isNarrow("right") && !isDrawer() && document.body.dataset.right === "open";
      const open = document.body.dataset[side] !== "open" || hidden;
      if (hidden) apply(other, false);
      apply(side, open);
      if (!isNarrow(side)) {
        try { localStorage.setItem(folded(side), open ? "open" : "closed"); } catch { /* private window */ }
      } else if (open && isDrawer()) {
        apply(other, false);
      }
    },
    show(side) {
      if (isDrawer()) apply(side === "left" ? "right" : "left", false);
      apply(side, true);
    },
    close(side) { if (isNarrow(side)) apply(side, false); },
    settle() { settle("left"); settle("right"); },
    colour,
    write,
    rowsOf,
  };

  for (const side of ["left", "right"]) {
    window.matchMedia(narrow[side]).addEventListener("change", () => settle(side));
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      for (const side of ["left", "right"]) {
        if (isDrawer(side) && document.body.dataset[side] === "open") { apply(side, false); return; }
      }
      if (document.body.dataset.running === "yes") document.querySelector("#stop")?.click();
      else if (document.body.dataset.compare === "open") document.querySelector("#compare-close")?.click();
    }
    if ((event.ctrlKey || event.metaKey) && window.slipstream.letter(event) === "k") {
      event.preventDefault();
      if (isNarrow("right")) apply("right", false);
      apply("left", true);
      window.gradioInternals.searchField()?.focus();
    }
    if (event.altKey && window.slipstream.letter(event) === "n") {
      event.preventDefault();
      document.querySelector("#new-chat")?.click();
    }
  });

  // Enter and Escape that end or leave a composition belong to the input method.
  window.addEventListener("keydown", (event) => {
    if (event.isComposing && (event.key === "Enter" || event.key === "Escape")) event.stopImmediatePropagation();
  }, true);

  // A held Enter and the second click of a double click are one act: neither a second message nor a stop.
  document.addEventListener("keydown", (event) => {
    if (event.repeat && event.key === "Enter" && !event.shiftKey && event.target.closest?.("#box")) event.preventDefault();
  }, true);
  document.addEventListener("click", (event) => {
    if (event.detail > 1 && event.target.closest?.("#send, #stop, #compare")) event.stopImmediatePropagation();
  }, true);

  document.addEventListener("click", (event) => {
    const target = event.target;
    if (!(target instanceof Element)) return;
    const suggestion = target.closest(".welcome .prompts button");  // Gradio's sanitiser leaves no data attributes
    if (suggestion) {
      const index = [...document.querySelectorAll(".welcome .prompts button")].indexOf(suggestion);
      write(window.slipstreamPrompts[index].prompt);
    }
    if (target.closest(".welcome .best button")) {
      document.querySelector("#get-best")?.click();
      apply("right", true);
      unfold(document.querySelector("#get"), true);
    }
    const heading = target.closest(".section-head button");
    if (heading) {
      unfold(heading.closest(".section"), heading.getAttribute("aria-expanded") !== "true");
    }
    if (target.id === "veil") for (const side of ["left", "right"]) window.slipstream.close(side);
  });

  function unfold(section, open) {
    section?.querySelector(".section-head button").setAttribute("aria-expanded", String(open));
    section?.classList.toggle("unfolded", open);
  }

  function write(text) {
    const box = window.gradioInternals.box();
    if (!box) return;
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, text);
    box.dispatchEvent(new Event("input", { bubbles: true }));
    box.focus();
    box.setSelectionRange(text.length, text.length);
  }

  // A page begins in the message box. Gradio's `autofocus` would take the focus again whenever the box scrolls.
  const opening = new MutationObserver(() => {
    const box = window.gradioInternals.box();
    if (!box) return;
    opening.disconnect();
    if (document.activeElement === document.body) box.focus();
    const notices = window.gradioInternals.notices();
    if (notices) new ResizeObserver(() => makeRoom(notices.offsetHeight)).observe(notices);
  });
  opening.observe(document, { childList: true, subtree: true });

  // Notices stand below the message box and cover nothing: the page makes room for them (page.css).
  function makeRoom(height) {
    const chat = window.gradioInternals.chatScroll(document.getElementById("chat"));
    const atEnd = chat && chat.scrollHeight - chat.scrollTop - chat.clientHeight < 40;
    document.body.style.setProperty("--notice", height ? `${height + 12}px` : "0px");
    if (atEnd) chat.scrollTop = chat.scrollHeight;
  }

  function start() {
    const veil = document.createElement("div");
    veil.id = "veil";
    document.body.append(veil);
    window.slipstream.settle();
  }
  // Light, dark or the system's. Gradio follows the address and the system; what was chosen overrides it.
  const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
  function colour() {
    const theme = window.slipstreamTheme || "system";
    const dark = theme === "system" ? systemDark.matches : theme === "dark";
    if (document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    document.querySelectorAll("[data-theme]").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.theme === theme));
    });
  }
  systemDark.addEventListener("change", colour);
  // As soon as there is a body: the page is visible long before all of Gradio is loaded.
  new MutationObserver((_, body) => {
    if (!document.body) return;
    body.disconnect();
    colour();
    new MutationObserver(colour).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  }).observe(document.documentElement, { childList: true });

  // Polls whether the application is there, is still the same process, and has changed since this page was drawn. A
  // hidden page does not poll.
  let instance = null, pageVersion = null, timer = null;
  async function poll() {
    clearTimeout(timer);
    if (document.hidden) return;
    let now = null;
    try { now = await (await fetch("/healthz", { cache: "no-store" })).json(); } catch { /* not there */ }
    const other = now !== null && instance !== null && now.instance !== instance;
    const words = window.slipstream.holdsPrivateWords?.();  // they stand on this page alone
    if (other && !words) { location.reload(); return; }
    if (!other) instance = now?.instance ?? instance;
    if (now !== null && now.page_version !== pageVersion && window.slipstream.changed) {
      pageVersion = now.page_version;
      window.slipstream.changed();
    }
    const gone = other || (now === null && instance !== null);
    let banner = document.getElementById("gone");
    const box = window.gradioInternals.box();
    if (box) box.readOnly = Boolean(gone && words);  // nothing can be sent into a private chat that is gone
    if (gone && !banner) {
      banner = document.createElement("div");
      banner.id = "gone";
      banner.setAttribute("role", "alert");
      banner.textContent = words ? tr("page.stopped_private")
        : tr("page.stopped");
      document.body.append(banner);
    } else if (!gone && banner) banner.remove();
    timer = setTimeout(poll, gone ? 1000 : 2000);
  }
  document.addEventListener("visibilitychange", poll);
  poll();

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
