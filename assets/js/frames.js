// Gradio counts the seconds of whatever is being loaded in every frame, hidden or not, and goes on for ever with what
// it removes while it counts, as it does with the page's own loading: a tenth of a processor's core, in an idle page.
// Nothing here shows those seconds. Gradio keeps the function for its counters, so this script comes before its own.
(() => {
  const plainFrame = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (draw) => new Error().stack.includes("/statustracker-") ? 0 : plainFrame(draw);
})();
