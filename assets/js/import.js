// An import, step by step, in a dialog: files are sent, the server says what they hold, a person decides. All words come
// from the server and are set as text.
(() => {
  const EVERY = 250;  // milliseconds between two questions how far it is
  const GONE = tr("page.no_answer");
  let dialog = null, state = null, changed = () => {}, timer = null;

  function element(tag, className, text) {
    const node = document.createElement(tag);
    node.className = className;
    if (text) node.textContent = text;
    return node;
  }

  function button(text, className, act) {
    const node = element("button", className, text);
    node.type = "button";
    node.addEventListener("click", act);
    return node;
  }

  function build() {
    dialog = element("dialog", "dialog");
    dialog.id = "import";
    dialog.setAttribute("aria-labelledby", "import-heading");
    const heading = element("h2", "");
    heading.id = "import-heading";
    const track = element("div", "track");
    track.append(document.createElement("i"));
    const said = element("div", "lines");
    said.setAttribute("role", "status");
    dialog.append(heading, track, said, element("div", "buttons"));
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); leave(); });
    dialog.addEventListener("keydown", (event) => event.stopPropagation());
    document.body.append(dialog);
  }

  const running = () => ["receiving", "reading", "adding"].includes(state?.phase);

  function draw() {
    const find = (what) => dialog.querySelector(what);
    const heading = find("h2");
    if (heading.textContent !== state.heading) heading.textContent = state.heading;
    find(".track").hidden = !running();
    find(".track").dataset.moving = String(running() && state.share === null);
    find(".track i").style.width = `${100 * (state.share ?? 0)}%`;
    const key = JSON.stringify(state.lines);
    if (find(".lines").dataset.key !== key) {  // a new copy would be read out again
      find(".lines").dataset.key = key;
      find(".lines").replaceChildren(...state.lines.map((line) => element("p", "", line)));
    }
    const buttons = [];
    if (state.can.includes("add")) buttons.push(button(state.add, "primary", () => step("add")));
    if (state.can.includes("undo")) buttons.push(button(tr("import.undo"), "", () => step("undo")));
    const ends = running() || state.can.includes("add");
    buttons.push(button(ends ? tr("page.cancel") : tr("page.close"), "", leave));
    const wanted = buttons.map((node) => node.textContent).join();
    if (find(".buttons").dataset.key !== wanted) {
      find(".buttons").dataset.key = wanted;
      find(".buttons").replaceChildren(...buttons);
      buttons.at(state.phase === "preview" ? 0 : -1).focus();
    }
  }

  function failed(sentence) {
    state = { ...state, phase: "failed", heading: tr("import.failed"), lines: [sentence], can: [], share: null };
    draw();
  }

  async function ask(path, options = { method: "POST" }) {
    let answer;
    try { answer = await (await fetch(`/import/${path}`, options)).json(); } catch { answer = { ok: false, message: GONE }; }
    if (!answer.ok) { failed(answer.message); return false; }
    state = answer;
    draw();
    return true;
  }

  async function step(what) {
    if (!await ask(`${state.id}/${what}`)) return;
    if (what === "undo") changed();
    watch();
  }

  function watch() {
    clearTimeout(timer);
    if (!running() || state.phase === "receiving") return;
    timer = setTimeout(async () => {
      const before = state.phase;
      if (!await ask(String(state.id), { cache: "no-store" })) return;
      if (before === "adding" && state.phase !== "adding") changed();
      watch();
    }, EVERY);
  }

  async function leave() {
    clearTimeout(timer);
    const ends = running() || state.can.includes("add");
    if (running() || state.phase === "preview") await ask(`${state.id}/cancel`);
    if (ends) changed();
    else dialog.close();
  }

  window.slipstream.importFiles = async (files, whenChanged) => {
    if (!dialog) build();
    changed = whenChanged;
    state = { phase: "receiving", heading: tr("import.receiving"), lines: [], can: [], share: null };
    draw();
    dialog.showModal();
    if (!await ask("begin")) return;
    for (const file of files) {
      const path = `${state.id}/file?name=${encodeURIComponent(file.name)}`;
      if (state.phase !== "receiving" || !await ask(path, { method: "POST", body: file })) return;
    }
    if (await ask(`${state.id}/read`)) watch();
  };
})();
