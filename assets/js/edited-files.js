// The attachments of a message that is being edited: some are taken away, others come. The server holds those that come
// until the edit is sent. Everything is set as text, never as markup.
window.slipstream.editedFiles = (attachments) => {
  const node = document.createElement("div"), list = document.createElement("ul"), said = document.createElement("p");
  const input = document.createElement("input"), attach = document.createElement("button");
  const without = new Set(), added = new Map();  // number -> name
  let reading = 0;
  node.className = "edited-files";
  list.setAttribute("aria-label", tr("box.attachments"));
  said.setAttribute("role", "status");
  input.type = "file";
  input.multiple = true;
  input.hidden = true;
  input.setAttribute("aria-label", tr("attached.to_message"));
  attach.type = "button";
  attach.textContent = tr("attached.attach");
  attach.title = tr("box.attach_tip");
  attach.addEventListener("click", () => input.click());

  function chip(name, gone, press) {
    const item = document.createElement("li"), title = document.createElement("b"), act = document.createElement("button");
    title.textContent = name;
    title.title = name;
    item.classList.toggle("gone", gone);
    act.type = "button";
    act.textContent = gone ? tr("attached.put_back") : "×";
    act.setAttribute("aria-label", gone ? tr("attached.put_back_name", { name }) : tr("attached.remove", { name }));
    act.addEventListener("click", press);
    item.append(title, act);
    return item;
  }

  function draw() {
    list.replaceChildren(
      ...attachments.map(({ id, name }) => chip(name, without.has(id), () => { if (!without.delete(id)) without.add(id); draw(); })),
      ...[...added].map(([id, name]) => chip(name, false, () => { added.delete(id); draw(); })),
    );
    list.hidden = !list.children.length;
    if (reading) said.textContent = tr("attached.reading");
    said.hidden = !said.textContent;
  }

  async function take(files) {
    const to = window.slipstream.conversation;
    said.textContent = "";
    for (const file of [...files]) {
      reading += 1;
      draw();
      try {
        const path = `/attachments/held?conversation=${to}&name=${encodeURIComponent(file.name)}`;
        const answer = await fetch(path, { method: "POST", body: file });
        const told = await answer.json();
        said.textContent = told.message;
        if (told.ok) added.set(told.id, told.name);
      } catch {
        said.textContent = tr("attached.not_arrived", { name: file.name });
      }
      reading -= 1;
      draw();
    }
  }

  input.addEventListener("change", () => { take(input.files).then(() => { input.value = ""; }); });
  node.addEventListener("keydown", (event) => { if (event.key !== "Escape") event.stopPropagation(); });
  node.append(list, said, attach, input);
  draw();
  return { node, reading: () => reading > 0, changes: () => ({ without: [...without], added: [...added.keys()] }) };
};
