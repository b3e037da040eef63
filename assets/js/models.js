// The name of the model, in the header, leads to where another one is chosen: on this disk, on a server, to be downloaded.
(() => {
  const SECTIONS = ["model", "servers", "get"];

  // The meters stay in sight above what is scrolled.
  function belowMeters(section) {
    const panel = document.querySelector("#right"), meters = document.querySelector("#meters");
    if (!section || !panel || !meters) return;
    const top = section.getBoundingClientRect().top, above = meters.getBoundingClientRect().bottom;
    if (top < above || top > above + 40) panel.scrollTop += top - above - 8;
  }

  function open() {
    window.slipstream.show("right");
    for (const id of SECTIONS) {
      const head = document.querySelector(`#${id} .section-head button`);
      if (head && head.getAttribute("aria-expanded") !== "true") head.click();
    }
    requestAnimationFrame(() => {
      belowMeters(document.querySelector("#model"));
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
