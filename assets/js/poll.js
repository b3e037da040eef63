// Lets the page's script say that something happened elsewhere: see `poll` in page.js.
window.slipstream.changed = () => trigger("change", {});
// Asks for nothing, so that the stream of answers is opened: see gradio.js.
window.slipstream.reopen = () => trigger("input", {});
