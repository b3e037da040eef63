// How far a model is loaded, under the picker.
const part = (name) => element.querySelector(`[data-part="${name}"]`);
function draw() {
  const load = props.value;
  if (!load || typeof load !== "object") return;
  part("root").dataset.tone = load.tone;
  part("sentence").textContent = load.sentence;
  part("detail").textContent = load.detail;
  const unload = document.querySelector("#model-unload");
  if (unload) unload.textContent = load.loading ? tr("model.cancel") : tr("model.unload");
  const track = part("track");
  track.hidden = load.progress === null;
  if (load.progress !== null) track.firstElementChild.style.width = `${Math.round(load.progress * 100)}%`;
}
watch("value", draw);
draw();
