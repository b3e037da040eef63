// How far the download of a model is, and which of its buttons are there.
const part = (name) => element.querySelector(`[data-part="${name}"]`);
function draw() {
  const card = props.value;
  if (!card || typeof card !== "object") return;
  document.body.dataset.download = card.state;  // frame.css shows the buttons of this state
  part("root").dataset.tone = card.tone;
  part("sentence").textContent = card.sentence;
  part("root").hidden = card.state === "none";
  const track = part("track");
  track.hidden = card.progress === null;
  if (card.progress !== null) track.firstElementChild.style.width = `${Math.round(card.progress * 100)}%`;
}
watch("value", draw);
draw();
