// Everything of Gradio's insides that the page's scripts use: names, addresses and markup that Gradio does not promise.
// It comes before Gradio's own scripts. tests/app/page/test_gradio_internals.py says which of them is gone.

window.gradioInternals = {
  box: () => document.querySelector("#box textarea"),
  notices: () => document.querySelector(".toast-wrap"),
  chatScroll: (chat) => chat?.querySelector('[role="log"]'),
  searchField: () => document.querySelector("#search textarea, #search input"),
  messageRows: (chat) => chat.querySelectorAll(".message-row"),
  // Where a note goes: beside the message, in the column that holds it.
  messageColumn: (row) => row.querySelector(".flex-wrap > div") || row,
};

// Gradio counts the seconds of everything that is loading, in every frame, hidden or not, and never stops for what it
// removes meanwhile: a tenth of a core in an idle page. Nothing here shows those seconds. Gradio's counters keep a
// reference to this function, so it is replaced before they run.
(() => {
  const plainFrame = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (draw) => new Error().stack.includes("/statustracker-") ? 0 : plainFrame(draw);
})();

// Gradio holds a connection for every open page, to learn when it is gone. A browser has six for all pages of an address,
// so that a few of them would keep a click, an answer or the next page waiting. It is opened once a page has what must be
// forgotten when it is gone.
(() => {
  const plainFetch = window.fetch;
  let open = null;
  const wanted = new Promise((resolve) => { open = resolve; });
  window.gradioInternals.tellWhenGone = () => open();
  window.fetch = async (...call) => {
    if (String(call[0]?.url ?? call[0]).includes("/heartbeat/")) await wanted;
    return plainFetch(...call);
  };
})();

// Answers come back in one stream. Gradio's server closes it when nothing is pending, and its client opens it again with
// the next request. A request that is made while the end of the stream is on its way falls between the two and stays
// unanswered until another one opens the stream. Then this makes one that changes nothing.
(() => {
  const plainFetch = window.fetch;
  const pending = new Set();  // requests whose answers have not ended
  const ended = new Set();  // those that ended before they were known
  let streams = 0;

  window.fetch = async (...call) => {
    const url = String(call[0]?.url ?? call[0]);
    if (url.includes("/queue/data")) return stream(call);
    const answer = await plainFetch(...call);
    if (answer.ok && url.includes("/queue/join")) joined(answer.clone());
    return answer;
  };

  async function joined(answer) {
    const { event_id: id } = await answer.json();
    if (!ended.delete(id)) pending.add(id);
    check();
  }

  async function stream(call) {
    streams += 1;
    let listening = null;
    try {
      const answer = await plainFetch(...call);
      if (!answer.ok) return answer;
      const [theirs, ours] = answer.body.tee();
      listening = listen(ours.pipeThrough(new TextDecoderStream()).getReader());
      return new Response(theirs, answer);
    } finally {
      Promise.resolve(listening).catch(() => {}).finally(() => { streams -= 1; check(); });  // it may have been aborted
    }
  }

  async function listen(reader) {
    let rest = "";
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      const messages = (rest + read.value).split("\n\n");
      rest = messages.pop();
      for (const message of messages) {
        if (!message.includes('"process_completed"')) continue;
        const { msg, event_id: id } = JSON.parse(message.slice("data: ".length));
        if (msg === "process_completed" && !pending.delete(id)) ended.add(id);
      }
    }
  }

  let timer = null;
  function check() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (streams || !pending.size) return;
      if (window.slipstream?.reopen) window.slipstream.reopen();
      else check();  // the page is not drawn yet
    }, 100);
  }
})();

// Gradio says that a text field was changed when a key is pressed that writes: not for what is pasted, deleted or composed.
(() => {
  let timer = null;
  document.addEventListener("input", (event) => {
    const field = event.target;
    if (!(field instanceof HTMLTextAreaElement) || !field.closest("#system")) return;
    clearTimeout(timer);
    timer = setTimeout(() => field.dispatchEvent(new KeyboardEvent("keypress", { bubbles: true, key: "Unidentified" })), 40);
  }, true);
})();

// Gradio's drop-down filters its list by what the field holds, and opens it, at every key, a moment after it was pressed:
// after Tab the list would hang open over a field that is left. Of its keys it hears only those that write or choose;
// the page's own shortcuts hear the others.
(() => {
  const SILENT = ["Tab", "Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock"];
  document.addEventListener("keydown", (event) => {
    if (!(event.target instanceof HTMLInputElement) || event.target.getAttribute("role") !== "combobox") return;
    if (!SILENT.includes(event.key) && !event.ctrlKey && !event.altKey && !event.metaKey) return;
    event.stopPropagation();
    if (!event.target.parentElement.dispatchEvent(new KeyboardEvent("keydown", event))) event.preventDefault();
  }, true);
})();
