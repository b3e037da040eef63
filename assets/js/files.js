// Export as downloads, import of a file that this script reads and posts.
const part = (name) => element.querySelector(`[data-part="${name}"]`);

function say(text, tone) {
  const answer = part("answer");
  answer.hidden = false;
  answer.dataset.tone = tone;
  answer.textContent = text;
}

part("import").addEventListener("click", () => part("file").click());
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
window.slipstream.colour();
