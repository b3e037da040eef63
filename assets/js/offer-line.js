// A line under the model picker that offers something, with one button or two. While that runs, it asks how far it is.
// Where `second_asks` is a question, the second button puts it first, and the first one takes it back.
const part = (name) => element.querySelector(`[data-part="${name}"]`);
let asking = null;
let question = false;
function draw() {
  const line = props.value;
  if (!line || typeof line !== "object") return;
  element.hidden = !line.sentence;
  part("root").dataset.tone = line.tone;
  question = question && Boolean(line.second_asks);
  const sentence = question ? line.second_asks : line.sentence;
  if (part("sentence").textContent !== sentence) part("sentence").textContent = sentence;
  for (const name of ["button", "second"]) {
    const button = part(name);
    button.hidden = !line[name];
    button.textContent = question && name === "button" ? tr("line.keep") : line[name] || "";
    button.disabled = false;
  }
  const track = part("track");
  track.hidden = line.progress === null;
  if (line.progress !== null) track.firstElementChild.style.width = `${Math.round(line.progress * 100)}%`;
  clearTimeout(asking);
  if (line.running) asking = setTimeout(ask, 2000);
}
function ask() {
  asking = setTimeout(ask, 2000); // an equal value is not drawn again
  trigger("change", {});
}
for (const [name, action] of [["button", "action"], ["second", "second_action"]]) {
  part(name).addEventListener("click", () => {
    if (question !== (name === "second" && Boolean(props.value.second_asks))) {
      question = !question;
      draw();
      return;
    }
    question = false;
    part("button").disabled = part("second").disabled = true;
    trigger("select", { action: props.value[action] });
  });
}
watch("value", draw);
draw();
