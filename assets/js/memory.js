// The memory over chats, open to see: what it holds, what a phrase would bring, forgetting, export and import.
(() => {
  const { node, button, ask } = window.slipstream;
  let body = null, all = true, phrase = "", undone = "";

  const number = () => (all ? 0 : window.slipstream.conversation);

  async function look() {
    const asked = `${number()} ${phrase}`;
    const told = await ask(`/memory/look/${number()}?phrase=${encodeURIComponent(phrase)}`);
    if (asked === `${number()} ${phrase}`) draw(told);
  }

  function part(name) { return body.querySelector(`[data-part="${name}"]`); }

  function draw(told) {
    const held = part("held"), found = part("found");
    if (told.failure) {
      part("said").textContent = told.failure;
      part("said").className = "bad";
      held.replaceChildren();
      found.replaceChildren();
      return;
    }
    part("said").className = "how";
    part("said").textContent = [told.all, told.note].filter(Boolean).join(". ");
    const rows = told.held.map((each) => {
      const name = node("th", "", each.title, each.imported ? node("span", "how", ` ${tr("memory.imported")}`) : null);
      name.scope = "row";
      const forget = button(tr("memory.forget"), () => act(`/memory/forget/${each.key}`, each), tr("memory.forget_one", { title: each.title }));
      return node("tr", "", name, node("td", "", each.words), node("td", "", forget));
    });
    held.replaceChildren();
    if (rows.length) held.append(node("table", "", node("tbody", "", ...rows)));
    found.replaceChildren();
    if (told.proposals) drawFound(found, told);
    part("all").hidden = !all || !told.held.length;
  }

  function drawFound(found, { proposals, matches }) {
    const guesses = proposals.map((each) => node("li", "",
      node("q", `from-${each.kind}`, each.text), `: ${tr("memory.likely", { percent: each.percent })}`, node("span", "how", ` ${each.words || tr("memory.common_word")}`)));
    found.append(node("h3", "", tr("memory.guessed_next")),
      guesses.length ? node("ol", "", ...guesses) : node("p", "how", tr("memory.leads_nowhere")));
    const places = matches.map((each) => node("li", "",
      node("b", "", each.title), ` ${tr("memory.times", { count: each.times })}: `, node("q", "", `…${each.text}…`)));
    found.append(node("h3", "", tr("memory.where")),
      places.length ? node("ul", "", ...places) : node("p", "how", all ? tr("memory.in_nothing") : tr("memory.not_here")));
  }

  // Forgetting switches the chat's memory off; for the open one that is the switch on the page.
  async function act(path, each) {
    const told = await ask(path, { method: "POST" });
    const here = window.slipstream.conversation;  // none: the switch is that of the next chat
    if (!told.failure) {
      undone = "";
      if (here && (!each || Number(each.key) === here)) untick();
    }
    said(told.failure, forgotten(each), true);
    look();
  }

  function forgotten(each) {
    if (!each) return tr("memory.forgotten_all");
    return each.imported ? tr("memory.forgotten_text", { title: each.title }) : tr("memory.forgotten_chat", { title: each.title });
  }

  const tick = () => document.querySelector("#memory input[type='checkbox']");
  function untick() { if (tick()?.checked) { undone = "ticked"; tick().click(); } }

  function said(failure, words, undo = false) {
    const line = part("done");
    line.className = failure ? "bad" : "done";
    line.replaceChildren(failure || words);
    if (!failure && undo) {
      line.append(" ", button(tr("memory.undo"), async () => {
        const told = await ask("/memory/undo", { method: "POST" });
        if (!told.failure && undone && tick() && !tick().checked) tick().click();
        said(told.failure, tr("memory.again"));
        look();
      }));
    }
  }

  function sure(made, go) {
    made.addEventListener("click", (event) => {
      if (made.dataset.sure) {
        if (event.detail > 1) return;  // a double click
        delete made.dataset.sure;
        made.textContent = tr("memory.forget_all");
        go();
        return;
      }
      made.dataset.sure = "yes";
      made.textContent = tr("list.sure");
      setTimeout(() => { delete made.dataset.sure; made.textContent = tr("memory.forget_all"); }, 3000);
    });
    return made;
  }

  async function take(file) {
    if (!file) return;
    const told = await ask("/memory/import", { method: "POST", body: file });
    said(told.failure, told.added ? tr("memory.added", { count: told.added }) : tr("memory.all_here"));
    look();
  }

  function build() {
    const field = node("input");
    field.type = "search";
    field.maxLength = 500;
    field.value = phrase;
    field.placeholder = tr("memory.phrase_hint");
    field.setAttribute("aria-label", tr("memory.phrase"));
    const form = node("form", "acts", field, button(tr("memory.look_up"), () => form.requestSubmit()));
    form.addEventListener("submit", (event) => { event.preventDefault(); phrase = field.value.trim(); look(); });
    const file = node("input");
    file.type = "file";
    file.accept = "application/json,.json";
    file.hidden = true;
    file.setAttribute("aria-label", tr("memory.to_import"));
    file.addEventListener("change", () => { take(file.files[0]); file.value = ""; });
    const away = node("a", "", tr("memory.export"));
    away.href = `/memory/export/${number()}.json`;
    away.download = "";
    const forget = sure(node("button", "", tr("memory.forget_all")), () => act("/memory/forget-all"));
    forget.type = "button";
    forget.dataset.part = "all";
    const place = (tag, name, role) => {
      const made = node(tag);
      made.dataset.part = name;
      if (role) made.setAttribute("role", role);
      return made;
    };
    body.replaceChildren(
      node("p", "how", tr("memory.what")),
      form, place("div", "found", "status"), node("h3", "", tr("memory.holds")), place("p", "said"), place("div", "held"), place("p", "done", "status"),
      node("div", "acts", away, button(tr("memory.import"), () => file.click()), forget, file));
  }

  window.slipstream.panel("memory-view", tr("memory.title"), (place, forAll) => {
    body = place;
    all = forAll;
    build();
    look();
  });
})();
