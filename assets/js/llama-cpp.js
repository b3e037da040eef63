// The line on llama.cpp under the model picker. While it is being installed, the line asks how far that is.
const part = (name) => element.querySelector(`[data-part="${name}"]`);
let asking = null;
function draw() {
  const line = props.value;
  if (!line || typeof line !== "object") return;
  element.hidden = !line.sentence;
  part("root").dataset.tone = line.tone;
  if (part("sentence").textContent !== line.sentence) part("sentence").textContent = line.sentence;
  const button = part("button");
  button.hidden = !line.button;
  button.textContent = line.button;
  button.disabled = false;
  const track = part("track");
  track.hidden = line.progress === null;
  if (line.progress !== null) track.firstElementChild.style.width = `${Math.round(line.progress * 100)}%`;
  clearTimeout(asking);
  if (line.running) asking = setTimeout(() => trigger("change", {}), 2000);
}
part("button").addEventListener("click", () => {
  part("button").disabled = true;
  trigger("select", { action: props.value.action });
});
watch("value", draw);
draw();
