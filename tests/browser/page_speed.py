"""The same prompt through the page in Chromium and through `ask`, in turn: what the page takes from the engine.

    python tests/browser/page_speed.py [--mode plain|adaptive] [--tokens N] [--runs N]

Tokens per second are the engine's own. Each run of the page stands between two of `ask`, for machines are noisy; both
keep their model loaded. With two cores or fewer they share them with Chromium.
"""

import argparse
import json
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import expect, sync_playwright

LAUNCHER = str(Path(__file__).resolve().parents[2] / "launcher.py")
WORDS = ("harbour", "lamp", "keeper", "red", "green", "storm", "boat", "rope", "night", "gull", "stone", "bridge")
SENTENCES = 40
REST_S = 1.0  # between two runs, so that what one leaves behind is over
PATIENCE_S = 120


def prompt() -> str:
    """To be repeated; the starter model goes on for over a thousand tokens."""
    draw = random.Random(3)
    sentences = (f"The {' '.join(draw.choice(WORDS) for _ in range(8))}." for _ in range(SENTENCES))
    return f"Repeat this text exactly: {' '.join(sentences)}"


@contextmanager
def asking(mode: str, num_tokens: int) -> Iterator[Callable[[str], float]]:
    """Ask in one process; gives tokens per second."""
    options = ["--batch", "-", "--json", "--mode", mode, "--max-tokens", str(num_tokens)]
    command = [sys.executable, LAUNCHER, "ask", "--model", "starter", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout

        def ask(text: str) -> float:
            assert process.stdin
            assert process.stdout
            print(json.dumps({"prompt": text}), file=process.stdin, flush=True)
            return float(json.loads(process.stdout.readline())["tokens_per_s"])

        yield ask
        process.stdin.close()


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """The application's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    options = ["--home", str(home), "--port", port, "--no-browser"]
    with subprocess.Popen([sys.executable, LAUNCHER, *options], stdout=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}/"
        while process.poll() is None:
            try:
                with urllib.request.urlopen(f"{url}healthz") as answer:
                    if json.load(answer)["status"] == "ready":
                        break
            except OSError:
                time.sleep(0.1)
        yield url
        process.terminate()


@contextmanager
def chatting(home: Path, mode: str, num_tokens: int) -> Iterator[Callable[[str], float]]:
    """Ask through the page, each time in a new conversation; gives tokens per second."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with serving(home) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page: Any = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{url}?token={(home / 'page-token').read_text(encoding='ascii')}")
        expect(page.locator("#header .badge")).to_be_visible(timeout=1000 * PATIENCE_S)

        def chat(text: str) -> float:
            page.get_by_role("button", name="New chat", exact=True).click()
            expect(page.locator(".welcome")).to_be_visible()
            limit = page.locator("#max-tokens input")
            if not limit.is_visible():
                page.locator("#answer button").first.click()
            limit.fill(str(num_tokens))
            limit.blur()
            page.locator("#memory input").set_checked(False)  # `ask` knows no other conversations
            page.get_by_label("Drafting", exact=True).set_checked(mode == "adaptive")
            page.wait_for_timeout(1000 * REST_S)
            page.locator("#box textarea").fill(text)
            page.locator("#box textarea").press("Enter")
            expect(page.locator("#chat .figures")).to_have_count(1, timeout=1000 * PATIENCE_S)
            with closing(sqlite3.connect(f"file:{home / 'slipstream.db'}?mode=ro", uri=True)) as database:
                (record,) = database.execute("select record from runs order by id desc limit 1").fetchone()
            stats = json.loads(record)["stats"]
            return float(stats["num_committed"] / stats["decode_s"])

        yield chat
        browser.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mode", choices=("plain", "adaptive"), default="plain")
    parser.add_argument("--tokens", type=int, default=1500, metavar="N")
    parser.add_argument("--runs", type=int, default=10, metavar="N")
    args = parser.parse_args()
    text = prompt()
    asked, chatted = [], []
    with (
        tempfile.TemporaryDirectory() as home,
        asking(args.mode, args.tokens) as ask,
        chatting(Path(home), args.mode, args.tokens) as chat,
    ):
        ask(text), chat(text)  # what is done once
        asked.append(ask(text))
        for _ in range(args.runs):
            chatted.append(chat(text))
            time.sleep(REST_S)
            asked.append(ask(text))
            print(f"ask {asked[-2]:7,.0f}   page {chatted[-1]:7,.0f}   ask {asked[-1]:7,.0f} tokens/s", flush=True)
    print(f"medians: ask {median(asked):,.0f}, page {median(chatted):,.0f} tokens/s")
    beside = [page / ((before + after) / 2) for page, before, after in zip(chatted, asked[:-1], asked[1:], strict=True)]
    print(f"page over ask: {median(chatted) / median(asked):.3f} of medians, {median(beside):.3f} in the median pair")
    return 0


if __name__ == "__main__":
    sys.exit(main())
