"""What the page costs a person and the engine, in Chromium over a scripted engine.

    python tests/browser/page_cost.py [long-chat] [long-answer] [many-chats] [--tokens N] [--messages N] [--chats N]

*Key to paint*: from a key pressed in the message box to the end of the frame with it. *Longest task*: in which the
browser answers nothing. *Page's process*: the share of one core that it takes while an answer of 100 tokens a second is
written, with the page open and with none; the scripted engine in it is part of both.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil
from playwright.sync_api import expect, sync_playwright

from app.home import Home
from app.serve import serve
from app.store.records import ConversationSettings, now
from app.store.store import Store
from app.view.listing import LISTED
from engine.config import ModelSpec
from engine.events import Event, PrefillProgress
from tests.scripted import ScriptedEngine
from tests.scripted_answer import Script

ROUND_S = 0.042  # of 4.2 tokens each: 100 tokens a second
PATIENCE_MS = 240_000
CONTEXT = 1_000_000
WORDS = ("the", "old", "station", "by", "river", "every", "train", "that", "stops", "there", "brings", "letters", "far")
PHRASE = "zephyr lantern"
QUERIES = (PHRASE, "river", "th", "日")  # in few chats, in all of them twice, in none
REST_S = 1.5

# How long each key took to be seen, and the longest task: kept in the page.
WATCH = """() => {
  window.keys = []; window.longest = 0; window.blocked = 0;
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) {
      window.longest = Math.max(window.longest, task.duration);
      window.blocked += task.duration;
    }
  }).observe({ type: "longtask" });
  window.addEventListener("keydown", (event) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => window.keys.push(performance.now() - event.timeStamp);
    requestAnimationFrame(() => channel.port2.postMessage(0));
  }, true);
}"""


class PacedEngine(ScriptedEngine):
    """Takes no time for the prompt."""

    @staticmethod
    def _prefill(script: Script) -> Iterator[Event]:
        total = len(script.prompt_ids)
        likeliest = script.likelihoods(0, 1)
        yield PrefillProgress(
            done=total, total=total, reused=total, first_token_id=script.commits[0], likelihoods=likeliest
        )


def prose(num_tokens: int, seed: int = 1) -> str:
    """An answer as a chat model writes one: headings, lists, code, bold words; nothing goes in circles."""
    draw = random.Random(seed)
    blocks: list[str] = []
    length = 0
    while length < num_tokens:
        kind = len(blocks) % 5
        words = [draw.choice(WORDS) + str(draw.randrange(1000)) for _ in range(60)]
        if kind == 0:
            block = f"## {' '.join(words[:5])}"
        elif kind == 3:
            block = "\n".join(f"- **{words[n]}** {' '.join(words[n + 1 : n + 9])}" for n in range(0, 50, 10))
        elif kind == 4:
            lines = "\n".join(f"    {words[n]} = {words[n + 1]} + {n}" for n in range(0, 24, 2))
            block = f"```python\ndef f{len(blocks)}(x):\n{lines}\n    return x\n```"
        else:
            block = " ".join(words)
        blocks.append(block)
        length += len(block.split())
    return "\n\n".join(blocks)


def serve_scripted(root: str, port: str, tokens: str) -> int:
    """The server's process."""
    folder = Path(root)
    home = Home(data=folder, logs=folder / "logs", cache=folder / "cache").create()
    engine = PacedEngine(answers=[prose(int(tokens))], delay_s=ROUND_S)
    spec = ModelSpec(max_context=CONTEXT)
    return serve(home, engine, lambda: Store(home.database), port=int(port), open_browser=False, flags=spec)


def fill(home: Path, *, messages: int = 0, chats: int = 0, max_tokens: int = 0) -> int:
    """Put conversations into a new home; returns the id of the last one."""
    home.mkdir(exist_ok=True)
    settings = ConversationSettings(max_tokens=max_tokens) if max_tokens else ConversationSettings()
    draw = random.Random(2)
    with closing(Store(home / "slipstream.db")) as store, store.transaction():
        for number in range(chats):
            title = " ".join(draw.choice(WORDS) for _ in range(5))
            chat = store.new_conversation(settings, f"{title} {number}")
            text = " ".join(draw.choice(WORDS) for _ in range(60))
            text += f" {PHRASE} {number}" if number % 400 == 7 else ""
            for role, said in (("user", title), ("assistant", text)):
                tip = store.insert_message(
                    chat.id, None, role, said, token_ids=(), status="complete", error=None, created=now()
                )
            store.place_tip(tip)
        last = store.new_conversation(settings, "A long one").id
        parent: int | None = None
        for number in range(messages):
            role = "assistant" if number % 2 else "user"
            text = prose(90, number) if number % 2 else f"Question {number}: what of {WORDS[number % len(WORDS)]}?"
            parent = store.insert_message(
                last, parent, role, text, token_ids=(), status="complete", error=None, created=now()
            )
        if parent is not None:
            store.place_tip(parent)
    return last


@dataclass(frozen=True)
class Server:
    home: Path
    url: str
    process: "subprocess.Popen[bytes]"

    @property
    def token(self) -> str:
        return (self.home / "page-token").read_text(encoding="ascii").strip()

    def busy_s(self) -> float:
        """Seconds of a core that the process has taken so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def serving(home: Path, tokens: int) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, __file__, "--serve", str(home), port, str(tokens)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}/"
        while process.poll() is None:
            try:
                with urllib.request.urlopen(f"{url}healthz") as answer:
                    if json.load(answer)["status"] == "ready":
                        break
            except OSError:
                time.sleep(0.1)
        yield Server(home, url, process)
        process.terminate()


def opened(browser: Any, server: Server, chat: int, sources: bool = False) -> Any:
    """The page at a conversation, drawn and at rest."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page.add_init_script(f"({WATCH})()")
    page.goto(f"{server.url}?token={urllib.parse.quote(server.token)}#c{chat}")
    expect(page.locator("#header .badge")).to_be_visible()
    expect(page.locator('#header [data-part="title"]')).to_have_text("A long one")
    switch = page.locator("[data-part=show-origins]")
    if (switch.get_attribute("aria-pressed") == "true") != sources:
        switch.click()
    page.wait_for_timeout(1000 * REST_S)
    return page


def forget(page: Any) -> None:
    page.evaluate("window.keys.length = 0, window.longest = 0, window.blocked = 0, undefined")


def type_keys(page: Any, seconds: float) -> list[float]:
    """Type into the message box, ten keys a second; milliseconds from key to paint."""
    page.locator("#box textarea").focus()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        page.keyboard.press("x")
        page.wait_for_timeout(100)
    page.wait_for_timeout(300)
    return list(page.evaluate("window.keys"))


def row(name: str, *cells: str) -> None:
    print(f"{name:52}" + "".join(f"{cell:>24}" for cell in cells), flush=True)


def told(name: str, keys: list[float], page: Any, share: float | None = None) -> None:
    """A line of the table; of 20 keys one takes longer than the second figure."""
    ordered = sorted(keys) or [0.0]
    late = ordered[int(0.95 * (len(ordered) - 1))]
    longest = page.evaluate("window.longest")
    busy = "" if share is None else f"{share:.1%}"
    row(name, f"{median(ordered):.0f} / {late:.0f} / {ordered[-1]:.0f} ms", f"{longest:.0f} ms", busy)


def write_answer(page: Any, server: Server, seconds: float, name: str) -> None:
    """Ask, and type while the answer is written, for so many seconds or as long as it takes."""
    page.locator("#box textarea").fill("Go on")
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#stop")).to_be_visible()
    forget(page)
    busy, began = server.busy_s(), time.monotonic()
    keys: list[float] = []
    while page.locator("#stop").is_visible() and time.monotonic() < began + seconds:
        keys = type_keys(page, 4)
        page.locator("#box textarea").fill("")
    told(name, keys, page, (server.busy_s() - busy) / (time.monotonic() - began))


def alone(browser: Any, server: Server, chat: int, seconds: float) -> None:
    """The same answer with no page open."""
    page = opened(browser, server, chat)
    page.locator("#box textarea").fill("Go on")
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#stop")).to_be_visible()
    page.close()
    time.sleep(2)
    busy, began = server.busy_s(), time.monotonic()
    time.sleep(seconds)
    row("  writing, no page open", "", "", f"{(server.busy_s() - busy) / (time.monotonic() - began):.1%}")


def long_chat(browser: Any, root: Path, args: argparse.Namespace) -> None:
    """A chat of many messages: opened, at rest, and while an answer is written."""
    chat = fill(root / "long-chat", messages=args.messages)
    row(f"A chat of {args.messages} messages")
    with serving(root / "long-chat", 900) as server:
        for sources in (False, True):
            said = f", Sources {'on' if sources else 'off'}"
            began = time.monotonic()
            page = opened(browser, server, chat, sources)
            page.wait_for_function(
                f"document.querySelectorAll('#chat .message-row').length >= {min(args.messages, 100)}"
            )
            seconds, longest = time.monotonic() - began - REST_S, page.evaluate("window.longest")
            row(f"  opened{said}", f"after {seconds:.1f} s", f"{longest:.0f} ms")
            forget(page)
            told(f"  at rest{said}", type_keys(page, 4), page)
            page.locator("#box textarea").fill("")
            write_answer(page, server, 9, f"  writing{said}")
            expect(page.locator("#stop")).to_be_hidden()
            page.close()
        alone(browser, server, chat, 6)


def long_answer(browser: Any, root: Path, args: argparse.Namespace) -> None:
    """A long answer: while it is written, afterwards, and Sources switched on."""
    chat = fill(root / "long-answer", max_tokens=2 * args.tokens)
    row(f"An answer of {args.tokens:,} tokens")
    with serving(root / "long-answer", args.tokens) as server:
        for sources in (False, True):
            said = f", Sources {'on' if sources else 'off'}"
            page = opened(browser, server, chat, sources)
            write_answer(page, server, 3600, f"  writing{said}")
            page.wait_for_timeout(2000)
            forget(page)
            told(f"  afterwards{said}", type_keys(page, 4), page)
            if sources:
                switch_sources(page)
            page.close()
        alone(browser, server, chat, 10)


def switch_sources(page: Any) -> None:
    """Off, and on again: until what is in sight is drawn."""
    page.evaluate("document.querySelector('[data-part=show-origins]').click()")
    page.wait_for_timeout(1000 * REST_S)
    forget(page)
    took = page.evaluate(
        """async () => {
          const began = performance.now();
          const inSight = () => [...document.querySelectorAll(".origins .block")].some((node) => {
            const box = node.getBoundingClientRect();
            return box.height && box.top < innerHeight && box.bottom > 0;
          });
          document.querySelector("[data-part=show-origins]").click();
          while (!inSight()) await new Promise(requestAnimationFrame);
          await new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
          return performance.now() - began;
        }"""
    )
    page.wait_for_timeout(2500)
    row("  Sources switched on: in sight", f"after {took:.0f} ms", f"{page.evaluate('window.longest'):.0f} ms")


def many_chats(browser: Any, root: Path, args: argparse.Namespace) -> None:
    """Many conversations: listed, and searched by what stands in few and in all of them."""
    chat = fill(root / "many-chats", chats=args.chats)
    row(f"{args.chats:,} chats")
    with serving(root / "many-chats", 100) as server, closing(Store(server.home / "slipstream.db")) as store:
        for query in (None, *QUERIES):
            times = []
            for _ in range(7):
                began = time.perf_counter()
                store.conversations(query, LISTED + 1)
                times.append(1000 * (time.perf_counter() - began))
            row(f"  in the store: {query or 'all'}", f"{median(times):.0f} ms")
        page = opened(browser, server, chat)
        forget(page)
        for query in QUERIES:
            times = [search(page, query) for _ in range(5)]
            row(f"  from key to painted list: {query}", f"{median(times):.0f} ms (up to {max(times):.0f})",
                f"{page.evaluate('window.longest'):.0f} ms")  # fmt: skip
            forget(page)


def search(page: Any, query: str) -> float:
    """Milliseconds from the last key to the painted list, and back to the whole list."""
    script = """(words) => new Promise((done) => {
      const field = window.gradioInternals.searchField();
      const list = document.querySelector('#conversations [data-part="list"]');
      const began = performance.now();
      const seen = new MutationObserver(() => {
        seen.disconnect();
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
      });
      seen.observe(list, { childList: true, subtree: true });
      Object.getOwnPropertyDescriptor(field.constructor.prototype, "value").set.call(field, words);
      field.dispatchEvent(new Event("input", { bubbles: true }));
    })"""
    took = float(page.evaluate(script, query))
    page.wait_for_timeout(300)
    page.evaluate(script, "")
    page.wait_for_timeout(300)
    return took


PARTS = {"long-chat": long_chat, "long-answer": long_answer, "many-chats": many_chats}


def main() -> int:
    if sys.argv[1:2] == ["--serve"]:
        return serve_scripted(*sys.argv[2:5])
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--tokens", type=int, default=8000, metavar="N")
    parser.add_argument("--messages", type=int, default=500, metavar="N")
    parser.add_argument("--chats", type=int, default=10_000, metavar="N")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores", flush=True)
    row("", "key to paint", "longest task", "page's process")
    with tempfile.TemporaryDirectory() as root, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name in args.parts or PARTS:
            PARTS[name](browser, Path(root), args)
        browser.close()
    print(f"load of the machine: {os.getloadavg()[0]:.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
