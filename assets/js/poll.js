// Lets the page's script report that something has changed elsewhere: see `poll` in page.js.
window.slipstream.changed = () => trigger("change", {});
// Asks for nothing, only to open the stream of answers: see gradio.js.
window.slipstream.reopen = () => trigger("input", {});
