// Export as downloads, import through import.js, colours.
const part = (name) => element.querySelector(`[data-part="${name}"]`);

function say(text, tone) {
  const answer = part("answer");
  answer.hidden = false;
  answer.dataset.tone = tone;
  answer.textContent = text;
}

part("import").addEventListener("click", () => part("file").click());
part("trash").addEventListener("click", () => window.slipstream.showTrash());
part("file").addEventListener("change", () => {
  const files = [...part("file").files];
  part("file").value = "";
  if (files.length) window.slipstream.importFiles(files, () => trigger("change", {}));
});

// Shown at once; `keepalive` lets the choice arrive although the page is left meanwhile.
element.querySelectorAll("[data-theme]").forEach((button) => button.addEventListener("click", async () => {
  window.slipstreamTheme = button.dataset.theme;
  window.slipstream.colour();
  try {
    const answer = await fetch("/theme", { method: "POST", body: button.dataset.theme, keepalive: true });
    if (!answer.ok) say((await answer.json()).message, "bad");
  } catch {
    say(tr("page.no_answer"), "bad");
  }
}));
window.slipstream.colour();
window.slipstream.say = say;
window.slipstream.drawNotify();
