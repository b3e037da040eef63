"""Use a Slipstream for hours, and say whether it stays as it was: `python -m tests.soak --hours 2 --home FOLDER`.

Real processes, the starter model, a hundred conversations: messages, edits, other versions, branches, deletions, the
trash emptied, comparisons, attachments, searches, exports, other models, and another program at the API meanwhile.
Every minute goes into FOLDER/soak.jsonl. A further run on the same folder adds its hours. At the end, or with
`--report` alone, FOLDER/soak.svg is drawn and the verdict of all hours said; exit 1 where something grows or failed.
It acts as fast as `--pace` lets it. Linux.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from app.assets import ASSETS
from app.store.records import ConversationSettings
from app.store.store import Store
from tests.faults.running import HTTP, Broken, Slipstream, Tab, traces
from tests.soak_report import report

CONVERSATIONS = 100
LONG = 12  # messages; then a conversation is deleted, and a new one begins
ANSWER_TOKENS = 120
LOOK_S = 60.0
SWITCH_S = 1800.0  # between two models
TAB_S = 60.0  # for which a tab is open: as many pages are opened in an hour as a person opens in a week
WORDS = Path(__file__).read_text(encoding="utf-8").split()


class Soak:
    """One run: acts, looks once a minute, writes down what it sees."""

    def __init__(self, slipstream: Slipstream, pace: float, seed: int) -> None:
        self.slipstream = slipstream
        self._pace = pace
        self._rng = random.Random(seed)
        self._log = slipstream.home / "soak.jsonl"
        self._run = f"{time.time():.0f}"
        self._done: Counter[str] = Counter()
        self._tabs: list[OpenTab] = []
        self._last_run_id = 0
        self._models = ("starter", str(slipstream.home / "another-starter"))
        self._model = 0
        self._key = ""

    def run(self, hours: float) -> None:
        """Act until the time is over; ends early where the application has gone."""
        self._fill()
        self.slipstream.start("--api", "--new-key")
        self._key = re.findall(r"sk-slipstream-\S+", self.slipstream.said.read_text(encoding="utf-8"))[-1]
        self._last_run_id = self._newest_run()
        began = next_look = time.monotonic()
        next_switch, cpu = began + SWITCH_S, self._cpu_s()
        end = began + 3600 * hours
        while (now := time.monotonic()) < end:
            if now >= next_look:
                self._look(now - began)
                next_look += LOOK_S
            act = self._switch_model if now >= next_switch else self._next_act()
            next_switch += SWITCH_S if now >= next_switch else 0
            self._try(act)
            self._wait(cpu, began, min(next_look, end))
        self._look(time.monotonic() - began)
        for tab in self._tabs:
            tab.close()
        if (code := self.slipstream.stop()) != 0:
            self._note("trouble", f"SIGTERM ended it with {code}")

    def _fill(self) -> None:
        """The conversations of somebody who has used it for a while, the first time."""
        if not Path(self._models[1]).exists():
            shutil.copytree(ASSETS / "starter", self._models[1])
        if self.slipstream.database.exists():
            return
        store = Store(self.slipstream.database)
        for number in range(CONVERSATIONS):
            chat = store.new_conversation(ConversationSettings(), f"Chat {number}")
            parent = None
            for _ in range(self._rng.randrange(2, LONG, 2)):
                asked = store.add_message(chat.id, parent, "user", self._text())
                parent = store.add_message(chat.id, asked.id, "assistant", self._text(80)).id
        store.close()

    def _wait(self, cpu: float, began: float, until: float) -> None:
        """Wait so long that the application has used its share of a core, and no more."""
        while time.monotonic() < until and self._cpu_s() - cpu > self._pace * (time.monotonic() - began):
            time.sleep(0.2)

    def _cpu_s(self) -> float:
        """Seconds of a core that the application's processes have used, also those that have ended."""
        with suppress(psutil.Error):
            times = self.slipstream.server().cpu_times()
            mine = times.user + times.system + times.children_user + times.children_system
            for child in self.slipstream.server().children(recursive=True):
                with suppress(psutil.Error):
                    mine += sum(child.cpu_times()[:2])
            return float(mine)
        raise SystemExit("The application has gone.")

    # What is done

    def _next_act(self) -> Callable[[], None]:
        acts: dict[Callable[[], None], int] = {
            self._send: 50,
            self._edit: 8,
            self._regenerate: 8,
            self._version: 8,
            self._branch: 3,
            self._compare: 3,
            self._with_the_api: 8,
            self._attach: 3,
            self._search: 5,
            self._export: 2,
            self._delete_and_undo: 3,
        }
        return self._rng.choices(list(acts), list(acts.values()))[0]

    def _try(self, act: Callable[[], None]) -> None:
        name = act.__name__.strip("_")
        try:
            act()
            self._done[name] += 1
        except (Broken, httpx.HTTPError, KeyError) as exc:
            self._note("trouble", f"{name}: {type(exc).__name__}: {exc}"[:500])
            if self.slipstream.status() != "ready":
                raise SystemExit("The application has gone.") from exc
            for tab in self._tabs:
                tab.close()
            self._tabs = []

    def _tab(self) -> "OpenTab":
        """A tab; each is closed in its time, as people do."""
        for tab in [tab for tab in self._tabs if tab.age_s > TAB_S]:
            tab.close()
            self._tabs.remove(tab)
        if len(self._tabs) < 4:
            self._tabs.append(OpenTab(self.slipstream))
        return self._rng.choice(self._tabs)

    def _text(self, words: int = 30) -> str:
        return " ".join(self._rng.choices(WORDS, k=self._rng.randrange(3, words)))

    def _settings(self) -> list[Any]:
        values: list[Any] = self._tab().page.defaults("send")[2:]
        values[7] = ANSWER_TOKENS
        return values

    def _chats(self) -> list[tuple[int, int]]:
        """Conversations and how many messages they have."""
        return self.slipstream.rows(
            "SELECT c.id, count(m.id) FROM conversations c LEFT JOIN messages m ON m.conversation_id = c.id "
            "WHERE c.deleted IS NULL GROUP BY c.id"
        )

    def _message(self, role: str) -> tuple[int, int]:
        """Any conversation, and a message of it that is on its page."""
        return self._rng.choice(
            self.slipstream.rows(
                "WITH RECURSIVE path(id, parent_id, chat) AS (SELECT m.id, m.parent_id, c.id FROM conversations c "
                "JOIN messages m ON m.id = c.tip_id WHERE c.deleted IS NULL UNION ALL SELECT m.id, m.parent_id, chat "
                "FROM messages m JOIN path ON m.id = path.parent_id) "
                "SELECT path.chat, path.id FROM path JOIN messages m ON m.id = path.id WHERE m.role = ?",
                role,
            )
        )  # type: ignore[return-value]

    def _open(self, chat: int) -> "OpenTab":
        tab = self._tab()
        tab.call("open", None, data={"id": chat})
        return tab

    def _send(self) -> None:
        """A message, in a chat that is not too long; the longest ones leave, and new ones begin."""
        chats = self._chats()
        for long in [chat for chat in chats if chat[1] >= LONG][:2]:
            self._tab().call("delete", None, data={"id": long[0]})
            self._done["delete"] += 1
            chats.remove(long)
        if self._rng.random() < 0.05:
            self._tab().call("delete_for_good", None, data={})
            self._done["delete_for_good"] += 1
        if len(chats) < CONVERSATIONS:
            tab = self._tab()
            tab.call("new", None)
        else:
            tab = self._open(self._rng.choice(chats)[0])
        tab.call("send", None, self._text(), *self._settings())

    def _edit(self) -> None:
        chat, message = self._message("user")
        self._open(chat).call("edit", None, *self._settings(), data={"id": message, "text": self._text()})

    def _regenerate(self) -> None:
        chat, message = self._message("assistant")
        self._open(chat).call("again", None, *self._settings(), data={"id": message, "plain": True})

    def _version(self) -> None:
        """Look at another version, where there is one."""
        found = self.slipstream.rows(
            "SELECT conversation_id, max(id) FROM messages WHERE conversation_id IN (SELECT id FROM conversations "
            "WHERE deleted IS NULL) AND parent_id IS NOT NULL GROUP BY parent_id HAVING count(*) > 1"
        )
        if found:
            chat, message = self._rng.choice(found)
            self._open(chat).call("version", None, data={"id": message, "offset": -1})

    def _branch(self) -> None:
        chat, message = self._message("assistant")
        self._open(chat).call("branch", None, data={"id": message})

    def _compare(self) -> None:
        tab = self._open(self._rng.choice(self._chats())[0])
        with suppress(GettingReady):  # a model that has just been loaded compares nothing yet
            tab.call("compare", None, self._text(), *self._settings())

    def _delete_and_undo(self) -> None:
        chat, _ = self._message("user")
        tab = self._open(chat)
        tab.call("delete", None, data={"id": chat})
        tab.call("undo", None, data={"id": chat})

    def _with_the_api(self) -> None:
        """Another program asks while a page does."""
        program = threading.Thread(target=self._program)
        program.start()
        try:
            self._send()
        finally:
            program.join()

    def _program(self) -> None:
        try:
            self._ask_api()
            self._done["ask_api"] += 1
        except (Broken, httpx.HTTPError) as exc:
            self._note("trouble", f"ask_api: {type(exc).__name__}: {exc}"[:500])

    def _ask_api(self) -> None:
        messages = [{"role": "user", "content": self._text()}]
        answer = HTTP.post(
            f"{self.slipstream.url}/v1/chat/completions",
            json={"model": Path(self._models[self._model]).name, "messages": messages, "max_tokens": ANSWER_TOKENS},
            headers={"Authorization": f"Bearer {self._key}"},
            timeout=300,
        )
        if answer.status_code != 200:
            raise Broken(f"the API answers {answer.status_code}: {answer.text[:200]}")

    def _attach(self) -> None:
        chat, _ = self._message("user")
        self._ok("POST", f"/attachments/{chat}?name=notes.txt", content=self._text(300).encode())
        self._open(chat).call("send", None, "What do the notes say?", *self._settings())

    def _search(self) -> None:
        self._tab().call("search", None, self._rng.choice(WORDS))

    def _export(self) -> None:
        kind = self._rng.choice(("json", "md", "html"))
        self._ok("GET", f"/export/{self._rng.choice(self._chats())[0]}.{kind}")
        self._ok("GET", f"/export/all.{kind}")

    def _ok(self, method: str, path: str, **given: Any) -> None:
        answer = HTTP.request(method, self.slipstream.url + path, headers=self.slipstream.headers, timeout=120, **given)
        if answer.status_code != 200:
            raise Broken(f"{path} answers {answer.status_code}: {answer.text[:200]}")

    def _switch_model(self) -> None:
        self._model = 1 - self._model
        self._tab().call("load", None, self._models[self._model], "none", "auto")

    # What is seen

    def _note(self, kind: str, what: object) -> None:
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"run": self._run, "at": round(time.time(), 1), kind: what}) + "\n")

    def _look(self, age_s: float) -> None:
        """Write down what everything takes now."""
        processes = {"server": self.slipstream.server(), "engine": self.slipstream.engine()}
        seen: dict[str, Any] = {"age_s": round(age_s)}
        for name, process in processes.items():
            with suppress(psutil.Error):
                memory = process.memory_full_info()
                seen[name] = {
                    "pid": process.pid,
                    "age_s": round(time.time() - process.create_time()),
                    "rss_mb": round(memory.rss / 1e6, 2),
                    "uss_mb": round(memory.uss / 1e6, 2),
                    "files": process.num_fds(),
                    "open": _open_files(process.pid),
                    "threads": process.num_threads(),
                    "cpu_s": round(sum(process.cpu_times()[:2]), 2),
                }
        seen["database_mb"] = round(sum(f.stat().st_size for f in self.slipstream.home.glob("slipstream.db*")) / 1e6, 3)
        seen["chats"] = len(self._chats())
        seen["cpu_s"] = round(self._cpu_s(), 1)
        seen["memory"] = self._memory()
        seen |= self._answers()
        seen["done"] = dict(self._done)
        seen["log_faults"] = len(traces(self.slipstream)) + self._log_faults()
        self._note("seen", seen)

    def _log_faults(self) -> int:
        """Tracebacks and errors in the log."""
        log = self.slipstream.home / "logs" / "slipstream.log"
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        return text.count("Traceback") + text.count(" ERROR ")

    def _memory(self) -> dict[str, Any]:
        """What the drafting memory holds, as the page tells it."""
        answer = HTTP.get(f"{self.slipstream.url}/memory/look/0", headers=self.slipstream.headers, timeout=60)
        told = answer.json() if answer.status_code == 200 else {"held": [], "all": ""}
        return {"tokens": sum(each["tokens"] for each in told["held"]), "all": told["all"]}

    def _newest_run(self) -> int:
        return int(self.slipstream.rows("SELECT coalesce(max(id), 0) FROM runs")[0][0])

    def _answers(self) -> dict[str, Any]:
        """Speed and acceptance of the answers since the last look."""
        records = self.slipstream.rows("SELECT record FROM runs WHERE id > ?", self._last_run_id)
        self._last_run_id = self._newest_run()
        adaptive = [json.loads(record)["stats"] for (record,) in records if json.loads(record)["mode"] == "adaptive"]
        seconds, drafted = sum(s["decode_s"] for s in adaptive), sum(sum(s["draft_sizes"]) for s in adaptive)
        accepted, rounds = (
            sum(sum(s["accepted_lengths"]) for s in adaptive),
            sum(len(s["draft_sizes"]) for s in adaptive),
        )
        tokens = sum(s["num_committed"] for s in adaptive)
        return {
            "answers": len(records),
            "tokens": tokens,
            "tokens_per_s": round(tokens / seconds, 1) if seconds else None,
            "tokens_per_round": round(tokens / rounds, 3) if rounds else None,
            "acceptance": round(accepted / drafted, 4) if drafted else None,
        }


def _open_files(pid: int) -> dict[str, int]:
    """How many of each kind a process has open; numbers in names are left out."""
    kinds: Counter[str] = Counter()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            kinds[re.sub(r"[\d:\[\]]+", "", Path(os.readlink(link)).name)] += 1
    return dict(sorted(kinds.items()))


class GettingReady(Broken):
    """Refused for now, as it should be."""


class OpenTab:
    """A tab of a browser: it says that it is there until it is closed, so that the server can forget it."""

    def __init__(self, slipstream: Slipstream) -> None:
        self.page = Tab(slipstream)
        self._began = time.monotonic()
        self._closing = threading.Event()
        self._url = f"{slipstream.url}/gradio_api/heartbeat/{self.page.session}"
        self._headers = slipstream.headers
        threading.Thread(target=self._beat, daemon=True).start()
        self.call("opened", None, "")

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._began

    def call(self, name: str, *given: object, data: object = None) -> None:
        if (refusal := self.page.call(name, *given, data=data).refusal) is not None:
            if "getting ready" in refusal:
                raise GettingReady(refusal)
            raise Broken(f"{name}: {refusal}")

    def close(self) -> None:
        self._closing.set()

    def _beat(self) -> None:
        with (
            suppress(httpx.HTTPError, OSError),
            HTTP.stream("GET", self._url, headers=self._headers, timeout=None) as s,
        ):
            for _ in self._until_closed(s.iter_lines()):
                pass

    def _until_closed(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            if self._closing.is_set():
                return
            yield line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--pace", type=float, default=0.1, help="of a core, on average (default: 0.1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="use nothing; draw and judge what is there")
    args = parser.parse_args()
    home = args.home.expanduser().resolve()
    if not args.report:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended; what was seen is kept."))
        slipstream = Slipstream(home)
        try:
            Soak(slipstream, args.pace, args.seed).run(args.hours)
        finally:
            slipstream.end()
    return report(home / "soak.jsonl", home / "soak.svg", sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
