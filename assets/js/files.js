// Export as downloads, import of a file that this script reads and posts.
const part = (name) => element.querySelector(`[data-part="${name}"]`);

function say(text, tone) {
  const answer = part("answer");
  answer.hidden = false;
  answer.dataset.tone = tone;
  answer.textContent = text;
}

part("import").addEventListener("click", () => part("file").click());
part("trash").addEventListener("click", () => window.slipstream.showTrash());
part("file").addEventListener("change", async () => {
  const file = part("file").files[0];
  part("file").value = "";
  if (!file) return;
  say(`Importing ${file.name}`, "");
  try {
    const answer = await (await fetch("/import", { method: "POST", body: file })).json();
    say(answer.message, answer.ok ? "" : "bad");
    if (answer.ok) trigger("change", {});
  } catch {
    say("Slipstream did not answer: is it still running?", "bad");
  }
});

// Shown at once; `keepalive` lets the choice arrive although the page is left meanwhile.
element.querySelectorAll("[data-theme]").forEach((button) => button.addEventListener("click", async () => {
  window.slipstreamTheme = button.dataset.theme;
  window.slipstream.colour();
  try {
    const answer = await fetch("/theme", { method: "POST", body: button.dataset.theme, keepalive: true });
    if (!answer.ok) say((await answer.json()).message, "bad");
  } catch {
    say("Slipstream did not answer: is it still running?", "bad");
  }
}));
window.slipstream.colour();
