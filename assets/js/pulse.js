// Lets the page's script say that something happened elsewhere: see `look` in page.js.
window.slipstream.changed = () => trigger("change", {});
