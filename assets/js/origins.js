// Where words came from: a switch, and then each answer as its exact text, tinted by source, with a border around what
// one run of the model confirmed. Everything is set as text, never as markup.
(() => {
  const put = window.slipstream.node;
  const { blockOf, look, hideCard } = window.slipstream.originCard;
  const KINDS = [
    ["prompt", tr("origins.kind_prompt")], ["chat", tr("origins.kind_chat")], ["other", tr("origins.kind_other")],
    ["model", tr("origins.kind_model")], ["trained", tr("origins.kind_trained")],
  ];
  const EVERY = 300;  // milliseconds, while an answer is written
  const STRETCH = 40;  // blocks at least, and then to the end of a line
  const LINE = 27, LETTERS = 90;  // about a line of text: its height in pixels, its length
  let shown = false;
  let growing = null;  // the answer that is written: { message, before, blocks, rest }, blocks with their names and node
  const loaded = new Map();  // message -> what the server said, or a promise of it

  const chat = () => document.getElementById("chat");
  const rowsOf = (row) => window.slipstream.rowsOf(row);
  const column = (row) => window.gradioInternals.messageColumn(row);
  const answers = () => [...window.gradioInternals.messageRows(chat())].filter((row) => row.matches(".bot-row:not(.more)"));

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

  const textOf = (block) => (block.parts ?? []).map(([part]) => part).join("") + (block.own ?? "");

  function drop(blocks, skip) {
    // What stands before the shown answer is its reasoning.
    let left = skip;
    return blocks.flatMap((block) => {
      if (!left) return [block];
      const text = [...textOf(block)], rest = text.slice(left).join("");
      left = Math.max(0, left - text.length);
      return rest ? [{ own: rest, steps: block.steps, why: block.why }] : [];
    });
  }

  // A long answer stands in stretches that end where a line does, each a box of its own: the browser skips those that are
  // out of sight (insight.css), and what is added moves only the last one.
  function stretches(blocks) {
    const found = [];
    let ended = true;
    for (const block of blocks) {
      const text = textOf(block), last = found.at(-1);
      if (!last || (last.blocks.length >= STRETCH && (ended || text.startsWith("\n")))) {
        found.push({ blocks: [], letters: 0, goesOn: !ended });
      }
      found.at(-1).blocks.push(block);
      found.at(-1).letters += text.length;
      if (text) ended = text.endsWith("\n");
    }
    return found;
  }

  const kindOf = (stretch) => (stretch.goesOn ? "stretch goes-on" : "stretch");

  function boxOf(stretch) {
    const box = put("div", kindOf(stretch));
    box.style.containIntrinsicBlockSize = `auto ${LINE * Math.ceil(stretch.letters / LETTERS)}px`;
    return box;
  }

  function answerNode(row) {
    let node = column(row).querySelector(":scope > .origins");
    if (!node) {
      node = put("div", "origins");
      node.setAttribute("role", "group");
      node.setAttribute("aria-label", tr("origins.answer_label"));
      column(row).querySelector(":scope > .message")?.after(node);
    }
    return node;
  }

  function remove(row) {
    for (const one of rowsOf(row)) column(one).classList.remove("tinted");
    column(row).querySelector(":scope > .origins")?.remove();
  }

  // Whether more of an answer is code than not.
  function isCode(row) {
    const messages = rowsOf(row).map((one) => column(one).querySelector(":scope > .message")).filter(Boolean);
    const count = (nodes) => nodes.reduce((sum, node) => sum + node.textContent.trim().length, 0);
    return 2 * count(messages.flatMap((node) => [...node.querySelectorAll("pre")])) > count(messages);
  }

  // What is drawn stands in the first row of an answer, in the place of all of its rows.
  function tint(row) {
    for (const one of rowsOf(row)) column(one).classList.add("tinted");
    answerNode(row).classList.toggle("code", isCode(row));
  }

  // Text at once; blocks first where they are in sight, the others while nothing else is to be done.
  function fill(row, told) {
    const node = answerNode(row);
    if (!told.unknown) tint(row);
    if (node.told === told) return;
    node.told = told;
    if (told.unknown) {  // the answer stays as it is
      node.replaceChildren(put("p", "unknown", told.unknown));
      column(row).querySelector(":scope > .message")?.before(node);
      return;
    }
    const boxes = stretches(drop(told.blocks, told.skip)).map((stretch) => {
      const box = boxOf(stretch);
      box.textContent = stretch.blocks.map(textOf).join("");
      box.waiting = { blocks: stretch.blocks, names: told.names };
      return box;
    });
    node.replaceChildren(...boxes);
    for (const box of boxes) {
      const { top, bottom } = box.getBoundingClientRect();
      if (bottom > 0 && top < innerHeight) drawBox(box);
    }
    firstStop(node);
    look();
    window.requestIdleCallback ? requestIdleCallback((left) => drawOn(node, left)) : setTimeout(() => drawAll(node));
  }

  function drawBox(box) {
    if (!box.waiting) return;
    const { blocks, names } = box.waiting;
    box.waiting = null;
    box.replaceChildren(...blocks.map((block) => drawBlock(block, names)));
  }

  function drawOn(node, left) {
    for (const box of node.children) {
      if (!box.waiting) continue;
      if (left.timeRemaining() < 3) { requestIdleCallback((next) => drawOn(node, next)); return; }
      drawBox(box);
    }
    firstStop(node);
  }

  function drawAll(node) {
    for (const box of node.children) drawBox(box);
    firstStop(node);
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
      if (isIntersecting) { rowsOf(target)[0].inSight = true; seen.unobserve(target); soon(); }
    }
  }, { rootMargin: "400px" });

  function draw() {
    if (!chat()) return;
    window.slipstream.nameRows?.();
    const rows = answers();
    for (const row of window.gradioInternals.messageRows(chat())) if (!row.matches(".bot-row")) remove(row);
    for (const row of rows) {
      const note = column(rowsOf(row).at(-1)).querySelector(":scope > .note");
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
        for (const one of rowsOf(row)) { seen.unobserve(one); seen.observe(one); }
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
    if (node.growing !== growing) {
      node.replaceChildren();
      node.growing = growing;
      node.told = null;
    }
    const { before, blocks, rest } = growing;
    const all = stretches([before, ...blocks, rest]);
    all.forEach((stretch, at) => {
      const box = node.children[at] ?? node.appendChild(boxOf(stretch));
      box.className = kindOf(stretch);
      arrange(box, stretch.blocks.map((block) => block.node ??= drawBlock(block, block.names)));
    });
    while (node.childElementCount > all.length) node.lastChild.remove();
    firstStop(node);
    tint(row);
    look();
  }

  function arrange(box, nodes) {
    if (box.childNodes.length === nodes.length && box.lastChild === nodes.at(-1)) return;  // as those before the last are
    let at = box.firstChild;
    for (const node of nodes) {
      if (at === node) at = at.nextSibling;
      else box.insertBefore(node, at);
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
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
      growing = { message: told.message, blocks: [], before: { own: told.before }, rest: null };
    }
    growing.blocks.length = told.from;
    for (const block of told.blocks) growing.blocks.push({ ...block, names: told.names });
    growing.rest = { own: told.rest ?? "" };
    draw();
  }

  document.addEventListener("keydown", (event) => {
    const node = blockOf(event.target);
    if (!node) return;
    drawAll(node.closest(".origins"));
    const all = [...node.closest(".origins").querySelectorAll("[tabindex]")], at = all.indexOf(node);
    const to = { ArrowRight: all[at + 1], ArrowDown: all[at + 1], ArrowLeft: all[at - 1], ArrowUp: all[at - 1],
                 Home: all[0], End: all.at(-1) }[event.key];
    if (event.key === "Escape" && hideCard()) event.stopPropagation();
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
      node.setAttribute("aria-label", tr("origins.legend"));
      node.append(put("span", "entry", put("b", "", tr("origins.exact_text"))));
      for (const [kind, words] of KINDS) {
        const entry = put("span", "entry");
        entry.append(put("span", `from-${kind}`, tr("origins.sample")), ` ${words}`);
        node.append(entry);
      }
      const own = put("span", "entry");
      own.append(put("span", "own", tr("origins.sample")), ` ${tr("origins.legend_own")}`);
      const round = put("span", "entry");
      round.append(put("span", "block", tr("origins.sample")), ` ${tr("origins.legend_round")}`);
      const refused = put("span", "entry");
      refused.append(put("span", "refused", ""), ` ${tr("origins.legend_refused")}`);
      node.append(own, round, refused);
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
