// One sentence about what a button has just done.
function draw() {
  const said = element.querySelector('[data-part="said"]');
  const text = typeof props.value === "string" ? props.value : "";
  said.hidden = !text;
  if (said.textContent !== text) said.textContent = text;
}
watch("value", draw);
draw();
