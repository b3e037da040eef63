"""The faults of what is around the application: its clock, its network, its weights, and what other versions left."""

import gzip
import json
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from app.assets import ASSETS
from app.store.backups import KEPT, Backups
from engine.models.well_known import chat_models
from tests.faults.outcome import Outcome, ended, midway
from tests.faults.running import ROOT, Broken, Sent, Slipstream, Tab, until

OLD_DATABASES = ROOT / "tests" / "data" / "databases"
DAY_S = 86_400.0


# The clock


def clock_forwards(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    return _clock_moved(slipstream, sent, rng, 1)


def clock_backwards(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    return _clock_moved(slipstream, sent, rng, -1)


def _clock_moved(slipstream: Slipstream, sent: Sent, rng: random.Random, sign: int) -> Outcome:
    """The clock jumps by days in the middle of an answer, and after another one and a start it is right again."""
    seen, days = midway(sent, rng, 0), sign * rng.choice((1, 2, 30, 400))
    slipstream.move_clock(days * DAY_S)
    until(lambda: _has_copy(slipstream, days), "the day that the clock says has a copy", 60)
    outcome = ended(sent, seen)
    _, status, error = slipstream.send(f"By another clock: {rng.random()}").wait_until_stored()
    if status != "complete":
        raise Broken(f"by another clock the answer is {status}: {error}")
    if rng.random() < 0.25:
        slipstream.end()
        slipstream.start()
    slipstream.move_clock(0)
    until(lambda: _has_copy(slipstream, 0), "today has a copy", 60)
    copies = Backups(slipstream.database).found()
    if len(copies) > KEPT or copies[0].day != date.today():
        raise Broken(f"the copies are of {[str(copy.day) for copy in copies]}")
    return outcome


def _has_copy(slipstream: Slipstream, days: int) -> bool:
    wanted = date.today() + timedelta(days=days)
    return any(copy.day == wanted for copy in Backups(slipstream.database).found())


# What another version left


def older_database(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    """A database as a released version left it, opened by this one meanwhile: all is there, and a chat goes on."""
    seen = midway(sent, rng, 0)
    file = rng.choice(sorted(OLD_DATABASES.glob("*.db.gz")))
    home = slipstream.home.with_name(f"older-{rng.getrandbits(64):x}")
    older = Slipstream(home)
    try:
        older.database.write_bytes(gzip.decompress(file.read_bytes()))
        before = kept_rows(older.database)
        older.start()
        _, status, error = older.send("Is all still here?").wait_until_stored()
        if status != "complete":
            raise Broken(f"in {file.name} the answer is {status}: {error}")
        after = kept_rows(older.database)
        if gone := [row for row in before if row not in after]:
            raise Broken(f"of {file.name} is gone: {gone[:3]}")
    finally:
        older.end()
        shutil.rmtree(home)
    return ended(sent, seen)


def kept_rows(database: Path) -> list[tuple[object, ...]]:
    """What a person wrote and was answered, but for what lies in the trash."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        found: list[tuple[object, ...]] = []
        for table, columns, condition in (
            ("conversations", "id, title, created, settings, pinned", "deleted IS NULL"),
            (
                "messages",
                "id, conversation_id, parent_id, role, text, created",
                "conversation_id IN (SELECT id FROM conversations WHERE deleted IS NULL)",
            ),
            ("runs", "id, message_id, record", "1"),
            ("origins", "run_id, message_id, length, record", "1"),
            ("labels", "conversation_id, name", "1"),
            ("memory_texts", "id, title, texts, created", "1"),
            ("attachments", "id, message_id, name, kind, size, text", "message_id IS NOT NULL"),
        ):
            if table in tables:
                found += [(table, *row) for row in db.execute(f"SELECT {columns} FROM {table} WHERE {condition}")]
    return found


# Weights


def not_a_number(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    """A model whose weights hold NaN is loaded and asked, then replaced."""
    outcome = ended(sent, "")
    folder, tab = slipstream.home / "not-a-number", Tab(slipstream)
    _spoil(folder, rng)
    if (refusal := tab.call("load", None, str(folder), "none", "auto").refusal) is not None:
        raise Broken(f"the model was not even loaded: {refusal}")
    text, status, error = slipstream.send(f"Can you count? {rng.random()}").wait_until_stored()
    if status != "error" or text or "not a number" not in (error or ""):
        raise Broken(f"a model of no numbers answered {text[:80]!r}, {status}: {error}")
    if (refusal := tab.call("load", None, "starter", "none", "auto").refusal) is not None:
        raise Broken(f"the starter model does not come back: {refusal}")
    shutil.rmtree(folder)
    return outcome


def _spoil(folder: Path, rng: random.Random) -> None:
    """The starter model with NaN in one of its tensors."""
    shutil.copytree(ASSETS / "starter", folder)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {name: told for name, told in json.loads(data[8:start]).items() if name != "__metadata__"}
    told = tensors[rng.choice(sorted(name for name in tensors if "norm" in name))]
    first, last = told["data_offsets"]
    data[start + first : start + last] = b"\xff" * (last - first)  # NaN in every format of floating-point numbers
    weights.write_bytes(data)


# The network


def network_pulled(slipstream: Slipstream, sent: Sent, rng: random.Random) -> Outcome:
    """The network goes in the middle of a download, which fails in a sentence, and goes on where it was."""
    seen, model = midway(sent, rng, 0), chat_models()[0]
    folder, said = slipstream.home / "repository", slipstream.home / "hub.txt"
    _write_some_gguf(folder / model.file)
    command = [sys.executable, "-m", "tests.faults.hub", str(slipstream.hub_port), model.repository, str(folder)]
    cache, tab = slipstream.home / "hf", Tab(slipstream)

    def hub() -> "subprocess.Popen[bytes]":
        with said.open("wb") as out:
            return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)

    def state() -> str:
        return str(tab.call("tick").shown("state")["state"])

    network = hub()
    try:
        until(said.exists, "the Hub is there")
        tab.call("begin", None, model.name)
        at_least = rng.randrange(1, (folder / model.file).stat().st_size // 2)
        until(lambda: _arrived(cache) >= at_least, "a part of the model has arrived")
        network.kill()
        network.wait()
        until(lambda: state() == "failed", "the download says that the network has gone", 60)
        sentence, part = tab.call("tick").shown("state")["sentence"], _arrived(cache)
        if "connection was lost" not in sentence or part < at_least:
            raise Broken(f"{part} bytes are there; it says {sentence}")
        network = hub()
        tab.call("resume", None)
        until(lambda: state() == "done", "the download goes on to its end", 60)
        (whole,) = (path for path in cache.rglob(model.file) if "snapshots" in path.parts)
        if whole.read_bytes() != (folder / model.file).read_bytes():
            raise Broken("what was downloaded is not what was sent")
        if f"bytes={part}-" not in said.read_text():
            raise Broken(f"the download did not go on at {part}: {said.read_text()[-300:]}")
    finally:
        network.kill()
        network.wait()
        shutil.rmtree(cache, ignore_errors=True)
    return ended(sent, seen)


def _write_some_gguf(path: Path) -> None:
    """A file with a GGUF's header and 8 MB of noise, as what is downloaded is not loaded."""
    from gguf import GGUFWriter

    path.parent.mkdir(exist_ok=True)
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.random.default_rng(1).random((2000, 1000), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _arrived(cache: Path) -> int:
    return sum(path.stat().st_size for path in cache.rglob("*.part"))
