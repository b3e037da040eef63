// The name of the model, in the header, leads to where another one is chosen: on this disk, on a server, to be downloaded.
(() => {
  const SECTIONS = ["model", "servers", "get"];

  function open() {
    window.slipstream.show("right");
    for (const id of SECTIONS) {
      const head = document.querySelector(`#${id} .section-head button`);
      if (head && head.getAttribute("aria-expanded") !== "true") head.click();
    }
    requestAnimationFrame(() => {
      document.querySelector("#model")?.scrollIntoView({ block: "nearest" });
      const field = document.querySelector("#model-name input");
      field?.focus({ preventScroll: true });
      field?.select();
    });
  }

  document.addEventListener("click", (event) => { if (event.target.closest?.("[data-models]")) open(); });
  document.addEventListener("keydown", (event) => {
    if (!event.altKey || event.ctrlKey || event.code !== "KeyM") return;
    event.preventDefault();
    open();
  });
})();
