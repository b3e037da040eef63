// The card beside a block of an answer: its tokens, where each came from, and the guess that was refused. It is that of the
// block under the pointer, or of the one that has the focus. Everything is set as text, never as markup.
(() => {
  const put = window.slipstream.node;
  const SHOWN_TOKENS = 10;
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
      head = tr("origins.one_round", { count: block.steps, why: block.why });
    } else if (!parts.length) {
      head = tr("origins.own_alone");
    } else {
      head = tr("origins.guessed", { tokens: block.tokens, guessed: parts.length });
    }
    if (parts.some(([, , percent]) => percent !== null)) {
      list.append(put("li", "heads", put("span", "", tr("origins.head_token")), put("span", "", tr("origins.head_from")), put("b", "", tr("origins.head_chance"))));
    }
    for (const [text, name, percent] of parts.slice(0, SHOWN_TOKENS)) list.append(lineOf(text, names[name].words, percent));
    if (parts.length > SHOWN_TOKENS) list.append(put("li", "more", tr("origins.more", { count: parts.length - SHOWN_TOKENS })));
    if (block.parts && block.own) list.append(lineOf(block.own, tr("origins.own"), null));
    card.replaceChildren(put("p", "", head), list);
    if (block.refused) {
      const [text, name, percent] = block.refused;
      const line = put("p", "no");
      line.append(`${tr("origins.refused")} `, put("q", "", visible(text)), ` (${names[name].words}${percent === null ? "" : `, ${percent} %`})`);
      card.append(line);
    }
    if (parts.some(([, , percent]) => percent !== null)) {
      const said = [tr("origins.percentage")];
      if (parts.some(([, name]) => names[name].matching)) said.push(tr("origins.matching"));
      card.append(put("p", "how", said.join(" ")));
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

  function hide() {
    if (card) card.hidden = true;
  }

  // The text may move, or be drawn anew, under a pointer that rests: the card is that of the block which stands there then.
  let pointer = null;
  const under = () => (pointer && blockOf(document.elementFromPoint(pointer.x, pointer.y))) || null;

  function look() {
    const focused = document.activeElement, node = under();
    if (card && !card.hidden && card.of.isConnected && (card.of === node || card.of === focused)) place(card.of);
    else if (node) showCard(node);
    else hide();
  }

  const blockOf = (target) => {
    const node = target?.closest?.(".origins [tabindex]");
    return node?.told ? node : null;
  };

  const follows = ({ pointerType, clientX, clientY }) => { pointer = pointerType === "mouse" ? { x: clientX, y: clientY } : null; };
  document.addEventListener("pointermove", follows, { passive: true });
  document.documentElement.addEventListener("pointerleave", () => { pointer = null; });
  document.addEventListener("pointerover", (event) => {
    follows(event);
    const node = blockOf(event.target);
    if (node) showCard(node);
    else if (!event.target.closest?.("#origin-card")) hide();
  });
  document.addEventListener("focusin", (event) => {
    const node = blockOf(event.target);
    if (node) showCard(node);
    else if (!card || card.of !== under()) hide();
  });
  document.addEventListener("scroll", () => { if (card) look(); }, true);

  // For a person who wants it away; returns whether it was there.
  function hideCard() {
    const there = Boolean(card) && !card.hidden;
    pointer = null;
    hide();
    return there;
  }

  window.slipstream.originCard = { blockOf, look, hideCard };
})();
