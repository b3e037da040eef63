"""What `bench trained` found, as a page of text for people."""

from collections.abc import Iterator, Sequence
from typing import Any

from engine.bench.reports.report import number, percent, table

Row = dict[str, Any]

_WORDS = {
    "alone": "heads alone",
    "local": "+ n-grams, local",
    "global": "+ n-grams, global",
    "global-16": "+ n-grams, 16 paths",
    "neural": "+ neural",
    "markov": "+ Markov",
    "oracle": "oracle of the lattice",
    "chimera": "Chimera",
    "adaptive": "adaptive without the pack",
    "merged": "adaptive with the pack",
}
_MERGED = ("adaptive", "merged")


def trained_text(data: dict[str, Any]) -> str:
    texts = [_head(data)]
    texts.append(table(("pack", "kind", "learned numbers", "drafts from", "MB", "tokens"), map(_pack, data["packs"])))
    texts += _chains([row for row in data["results"] if row["way"] not in _MERGED])
    texts += _merged([row for row in data["results"] if row["way"] in _MERGED])
    texts.append(
        "tokens/round: committed tokens over rounds, with chains of that length, or trees of 32 tokens. repeats: how "
        "often two neighbours\nin a draft are equal. right, by place: how often each token of a draft was what came. "
        "No prompt here was learned from."
    )
    return "\n\n".join(texts)


def _head(data: dict[str, Any]) -> str:
    model = data["model"]
    return f"{model['name']}, {model['dtype']}, {model['device']}, {model['threads']} threads"


def _pack(pack: Row) -> tuple[str, ...]:
    learned = ", ".join(f"{name} {count:,}" for name, count in pack["numbers"].items())
    vocabulary, size = f"{pack['draft_vocab']:,} tokens", number(pack["bytes"] / 1e6)
    return pack["name"], pack["kind"], learned, vocabulary, size, f"{pack['tokens']:,}"


def _chains(rows: Sequence[Row]) -> Iterator[str]:
    for key in dict.fromkeys((row["pack"], row["set"], row["temperature"], row["length"]) for row in rows):
        some = [row for row in rows if (row["pack"], row["set"], row["temperature"], row["length"]) == key]
        pack, name, temperature, length = key
        head = f"{pack}, {name}, temperature {temperature:g}, {length} ahead ({some[0]['positions']:,} positions)"
        lines = [
            (
                _WORDS[row["way"]],
                number(row["tokens_per_round"], 2),
                percent(row["repeats"]),
                " ".join(number(each, 2).removeprefix("0") for each in row["top1"]),
            )
            for row in some
        ]
        yield table((head, "tokens/round", "repeats", "right, by place"), lines)


def _merged(rows: Sequence[Row]) -> Iterator[str]:
    for pack in dict.fromkeys(row["pack"] for row in rows):
        lines = [
            (
                f"{row['set']}, temperature {row['temperature']:g}: {_WORDS[row['way']]}",
                number(row["tokens_per_round"], 2),
                _shares(row["accepted"]),
                *(_milliseconds(row["seconds"].get(name)) for name in ("all", "heads", "chimera")),
            )
            for row in rows
            if row["pack"] == pack
        ]
        yield table((pack, "tokens/round", "accepted from", "ms a round (p99)", "heads", "Chimera"), lines)


def _shares(counts: dict[str, int]) -> str:
    total = max(1, sum(counts.values()))
    likeliest = sorted(counts.items(), key=lambda each: -each[1])
    return ", ".join(f"{name} {100 * count / total:.0f} %" for name, count in likeliest)


def _milliseconds(seconds: dict[str, float] | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds['mean']:.2f} ({1e3 * seconds['p99']:.2f})"
