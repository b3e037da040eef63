// Where words came from: a switch, and then each answer as its exact text, tinted by source, with a border around what
// one run of the model confirmed. Everything is set as text, never as markup.
(() => {
  const KINDS = [
    ["prompt", "your message"], ["chat", "this chat"], ["other", "another chat"],
    ["model", "what the model found likely before"], ["trained", "a trained drafter"],
  ];
  const EVERY = 300;  // milliseconds, while an answer is written
  const SHOWN_TOKENS = 10;  // in the card
  let shown = false;
  let growing = null;  // the answer that is written: { message, blocks, names, node }
  const loaded = new Map();  // message -> what the server said, or a promise of it

  const chat = () => document.getElementById("chat");
  const column = (row) => window.gradioInternals.messageColumn(row);
  const answers = () => [...window.gradioInternals.messageRows(chat())].filter((row) => row.classList.contains("bot-row"));

  function put(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  // One block: runs of one kind in one span each, then the model's own token.
  function drawBlock(block, names) {
    const node = put("span", block.parts?.length ? "block" : block.refused ? "block alone" : "own");
    let kind = null, run = null;
    for (const [text, name] of block.parts ?? []) {
      if (names[name].kind !== kind) {
        kind = names[name].kind;
        run = put("span", `from-${kind}`, "");
        node.append(run);
      }
      run.textContent += text;
    }
    if (block.own) node.append(node.className === "own" ? block.own : put("span", "own", block.own));
    if (block.refused) node.classList.add("refused");
    if (block.parts || block.why) {
      node.tabIndex = -1;
      node.told = { block, names };
    }
    return node;
  }

  function drop(blocks, skip) {
    // What stands before the shown answer is its reasoning.
    let left = skip;
    return blocks.filter((block) => {
      if (!left) return true;
      const text = (block.parts ?? []).map(([part]) => part).join("") + (block.own ?? "");
      const length = [...text].length;
      if (length <= left) { left -= length; return false; }
      block.parts = undefined;
      block.refused = undefined;
      block.own = [...text].slice(left).join("");
      left = 0;
      return true;
    });
  }

  function answerNode(row) {
    let node = column(row).querySelector(":scope > .origins");
    if (!node) {
      node = put("div", "origins");
      node.setAttribute("role", "group");
      node.setAttribute("aria-label", "Where these words came from; arrow keys go from step to step");
      column(row).querySelector(":scope > .message")?.after(node);
    }
    return node;
  }

  function remove(row) {
    column(row).classList.remove("tinted");
    column(row).querySelector(":scope > .origins")?.remove();
  }

  function fill(row, told) {
    const node = answerNode(row);
    if (node.told === told) return;
    node.told = told;
    node.replaceChildren(...drop(structuredClone(told.blocks), told.skip).map((block) => drawBlock(block, told.names)));
    firstStop(node);
    column(row).classList.add("tinted");
  }

  function firstStop(node) {
    if (node.querySelector("[tabindex='0']")) return;
    const first = node.querySelector("[tabindex]");
    if (first) first.tabIndex = 0;
  }

  async function load(message) {
    try {
      const answer = await fetch(`/origins/message/${message}`, { cache: "no-store" });
      loaded.set(message, answer.ok ? await answer.json() : null);
    } catch { loaded.delete(message); }
    soon();
  }

  // Answers are asked for when they come into sight.
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) { target.inSight = true; seen.unobserve(target); soon(); }
    }
  }, { rootMargin: "400px" });

  function draw() {
    if (!chat()) return;
    const rows = answers();
    for (const row of rows) {
      const note = column(row).querySelector(":scope > .note");
      if (!shown) { remove(row); continue; }
      if (!note) {
        if (growing && row === rows.at(-1)) drawGrowing(row);
        else remove(row);
        continue;
      }
      const key = `${note.dataset.id} ${note.dataset.key ?? ""}`;
      if (row.originsKey !== key) {  // another message, or another version of it
        row.originsKey = key;
        if (growing?.message !== Number(note.dataset.id)) remove(row);
        row.inSight = false;
        loaded.delete(Number(note.dataset.id));
        seen.unobserve(row);
        seen.observe(row);
      }
      if (!row.inSight) continue;
      const message = Number(note.dataset.id);
      if (!loaded.has(message)) { loaded.set(message, null); load(message); }
      const told = loaded.get(message);
      if (told) fill(row, told);
    }
    legend();
  }

  // While an answer is written only what has been added is drawn; the last block may still have grown.
  function drawGrowing(row) {
    const node = answerNode(row);
    if (node.message !== growing.message) {
      node.replaceChildren();
      node.message = growing.message;
      node.drawn = 0;
      node.told = null;
      node.before = put("span", "own", growing.before);
      node.rest = put("span", "own", "");
      node.append(node.before, node.rest);
    }
    const from = Math.max(0, Math.min(node.drawn, growing.from));
    while (node.childElementCount > from + 2) node.children[from + 1].remove();
    for (const { block, names } of growing.blocks.slice(from)) node.rest.before(drawBlock(block, names));
    node.drawn = growing.blocks.length;
    growing.from = growing.blocks.length;
    if (node.rest.textContent !== growing.rest) node.rest.textContent = growing.rest;
    firstStop(node);
    column(row).classList.add("tinted");
  }

  let asking = false;
  async function follow() {
    const conversation = window.slipstream.conversation;
    const running = document.body.dataset.running === "yes" && conversation;
    if (!shown || !running || asking || document.hidden) {
      if (!running) growing = null;
      return;
    }
    asking = true;
    try {
      const number = growing ? Math.max(0, growing.blocks.length - 1) : 0;
      const answer = await fetch(`/origins/running/${conversation}?number=${number}`, { cache: "no-store" });
      const told = answer.status === 200 ? await answer.json() : null;
      if (told && conversation === window.slipstream.conversation) take(told);
    } catch { /* page.js says that nobody answers */ } finally { asking = false; }
  }

  function take(told) {
    if (told.skip !== 0) { growing = null; return; }  // it reasons: that is drawn when it has ended
    if (!growing || growing.message !== told.message) {
      if (told.from !== 0) { growing = null; return; }
      growing = { message: told.message, blocks: [], before: told.before, rest: "", from: 0 };
    }
    growing.from = Math.min(growing.from, told.from);
    growing.blocks.length = told.from;
    for (const block of told.blocks) growing.blocks.push({ block, names: told.names });
    growing.rest = told.rest ?? "";
    if (told.from === 0) growing.before = told.before;
    draw();
  }

  // The card beside a block: its tokens, where each came from, and the guess that was refused.
  let card = null;
  function visible(text) {
    return text.replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "␀";
  }

  function lineOf(text, words, percent) {
    const line = put("li");
    line.append(put("q", "", visible(text)), put("span", "", words), put("b", "", percent === null ? "" : `${percent} %`));
    return line;
  }

  function showCard(node) {
    const { block, names } = node.told;
    if (!card) {
      card = put("div");
      card.id = "origin-card";
      card.setAttribute("role", "tooltip");
      (document.querySelector("main") ?? document.body).append(card);
    }
    const list = put("ul"), parts = block.parts ?? [];
    let head;
    if (!block.parts) {
      head = block.steps === 1 ? `1 step of the model for 1 token: ${block.why}.` : `${block.steps} steps of the model, a token each: ${block.why}.`;
    } else if (!parts.length) {
      head = "1 token, the model's own.";
    } else {
      head = `${block.tokens} tokens in one step of the model, ${parts.length} of them guessed.`;
    }
    for (const [text, name, percent] of parts.slice(0, SHOWN_TOKENS)) list.append(lineOf(text, names[name].words, percent));
    if (parts.length > SHOWN_TOKENS) list.append(put("li", "more", `and ${parts.length - SHOWN_TOKENS} more`));
    if (block.parts && block.own) list.append(lineOf(block.own, "the model's own", null));
    card.replaceChildren(put("p", "", head), list);
    if (block.refused) {
      const [text, name, percent] = block.refused;
      const line = put("p", "no");
      line.append("Refused: ", put("q", "", visible(text)), ` (${names[name].words}${percent === null ? "" : `, ${percent} %`})`);
      card.append(line);
    }
    if (parts.some(([, , percent]) => percent !== null)) {
      card.append(put("p", "how", "The percentage is how likely the guess was thought to be right."));
    }
    card.hidden = false;
    place(node);
    node.setAttribute("aria-describedby", "origin-card");
  }

  function place(node) {
    card.of = node;
    const box = node.getClientRects()[0] ?? node.getBoundingClientRect();
    const width = card.offsetWidth, height = card.offsetHeight;
    card.style.left = `${Math.max(8, Math.min(box.left, innerWidth - width - 8))}px`;
    card.style.top = `${box.bottom + height + 14 < innerHeight ? box.bottom + 8 : Math.max(8, box.top - height - 8)}px`;
  }

  function hideCard() {
    if (card && !card.hidden) card.hidden = true;
  }

  const blockOf = (target) => {
    const node = target.closest?.(".origins [tabindex]");
    return node?.told ? node : null;
  };
  document.addEventListener("pointerover", (event) => {
    const node = blockOf(event.target);
    if (node) showCard(node);
    else if (!event.target.closest?.("#origin-card")) hideCard();
  });
  document.addEventListener("focusin", (event) => {
    const node = blockOf(event.target);
    if (node) showCard(node);
    else hideCard();
  });
  document.addEventListener("scroll", () => {
    if (!card || card.hidden) return;
    if (card.of.isConnected && card.of.matches(":hover, :focus")) place(card.of);
    else hideCard();
  }, true);
  document.addEventListener("keydown", (event) => {
    const node = blockOf(event.target);
    if (!node) return;
    const all = [...node.closest(".origins").querySelectorAll("[tabindex]")], at = all.indexOf(node);
    const to = { ArrowRight: all[at + 1], ArrowDown: all[at + 1], ArrowLeft: all[at - 1], ArrowUp: all[at - 1],
                 Home: all[0], End: all.at(-1) }[event.key];
    if (event.key === "Escape" && card && !card.hidden) { event.stopPropagation(); hideCard(); }
    if (!to) return;
    event.preventDefault();
    node.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  }, true);

  // The switch and the legend
  function legend() {
    let node = document.getElementById("origins-legend");
    if (!node) {
      const place = document.querySelector("#live .line");
      if (!place) return;
      node = put("div");
      node.id = "origins-legend";
      node.setAttribute("role", "note");
      node.setAttribute("aria-label", "Where words came from");
      for (const [kind, words] of KINDS) {
        const entry = put("span", "entry");
        entry.append(put("span", `from-${kind}`, "Abc"), ` ${words}`);
        node.append(entry);
      }
      const own = put("span", "entry");
      own.append(put("span", "own", "Abc"), " the model's own");
      const refused = put("span", "entry");
      refused.append(put("span", "refused", ""), " a guess was refused");
      node.append(own, refused);
      place.before(node);
    }
    node.hidden = !shown;
  }

  function apply() {
    document.body.dataset.origins = shown ? "shown" : "hidden";
    document.querySelectorAll("[data-part='show-origins']").forEach((button) => {
      button.setAttribute("aria-pressed", String(shown));
    });
    if (!shown) { hideCard(); loaded.clear(); growing = null; }
    for (const row of chat() ? answers() : []) row.originsKey = null;
    draw();
    follow();
  }

  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-part='show-origins']")) return;
    shown = !shown;
    apply();
    fetch(`/origins/shown/${shown ? "on" : "off"}`, { method: "POST", keepalive: true }).catch(() => { /* see page.js */ });
  });

  let asked = false;
  function soon() {
    if (asked || !shown) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  }

  function attach() {
    if (!chat() || !document.querySelector("#live .line")) { requestAnimationFrame(attach); return; }
    new MutationObserver((changes) => {
      if (changes.some(({ target }) => !target.closest?.(".origins"))) soon();
    }).observe(chat(), { childList: true, subtree: true });
    setInterval(follow, EVERY);
    fetch("/origins/shown", { cache: "no-store" }).then((answer) => answer.json()).then((said) => {
      shown = said.shown === true;
      apply();
    }).catch(() => { /* page.js says that nobody answers */ });
  }
  attach();
})();
