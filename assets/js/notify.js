// A notification when an answer that took long has ended and the page is out of sight. Off until a person switches it on,
// with the button in the corner; the browser asks then.
(() => {
  const LONG = 15_000;  // milliseconds; for a shorter answer nobody goes away
  const KEY = "slipstream-notify";
  let began = null;
  const can = () => "Notification" in window;

  function wanted() {
    try { return localStorage.getItem(KEY) === "yes"; } catch { return false; }
  }

  const on = () => can() && wanted() && Notification.permission === "granted";

  function draw() {
    const button = document.querySelector('#files [data-part="notify"]');
    if (!button) return;
    button.hidden = !can();
    button.setAttribute("aria-pressed", String(on()));
  }

  async function toggle() {
    const want = !on();
    if (want && await Notification.requestPermission() !== "granted") {
      window.slipstream.say?.(tr("notify.refused"), "bad");
      return;
    }
    try { localStorage.setItem(KEY, want ? "yes" : "no"); } catch { /* private window */ }
    draw();
  }

  function tell() {
    const title = document.querySelector('#header [data-part="title"]')?.textContent || "Slipstream";
    const note = new Notification(tr("notify.title"), { body: title, icon: "/favicon.svg", tag: "answer" });
    note.onclick = () => { window.focus(); note.close(); };
  }

  function changed() {
    const running = document.body.dataset.running === "yes";
    if (running) began ??= Date.now();
    else if (began !== null) {
      if (Date.now() - began >= LONG && on() && (document.hidden || !document.hasFocus())) tell();
      began = null;
    }
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest?.('#files [data-part="notify"]')) toggle();
  });
  document.addEventListener("DOMContentLoaded", () => {
    new MutationObserver(changed).observe(document.body, { attributes: true, attributeFilter: ["data-running"] });
  });
  window.slipstream.drawNotify = draw;
})();
