// What was attached to a message that was sent: one folded block each. The text is fetched when a block is opened, and is
// set as text, never as markup. Which blocks are open outlives the drawing of their notes.
(() => {
  const open = new Set();

  async function fill(block, id) {
    if (block.querySelector("pre")) return;
    const text = document.createElement("pre");
    text.tabIndex = 0;
    text.textContent = tr("attached.reading");
    block.append(text);
    try {
      const answer = await fetch(`/attachments/${id}/text`);
      text.textContent = answer.ok ? await answer.text() : (await answer.json()).message;
    } catch {
      text.textContent = tr("page.no_answer");
    }
    text.dispatchEvent(new CustomEvent("filled", { bubbles: true }));
  }

  window.slipstream.attached = (attachments) => {
    const blocks = document.createElement("div");
    blocks.className = "attached";
    for (const one of attachments) {
      const block = document.createElement("details");
      const head = document.createElement("summary"), name = document.createElement("b"), size = document.createElement("span");
      name.textContent = one.name;
      size.textContent = one.size;
      head.append(name, size);
      block.append(head);
      block.addEventListener("toggle", () => {
        if (block.open) { open.add(one.id); fill(block, one.id); } else open.delete(one.id);
      });
      block.open = open.has(one.id);
      blocks.append(block);
    }
    return blocks;
  };
})();
