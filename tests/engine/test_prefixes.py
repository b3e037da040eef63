"""Conversations that are set aside: which one comes back, and which make way."""

from engine.prefixes import MOST, Prefix, Prefixes


def prefix(*token_ids: int, certified: int | None = None) -> Prefix:
    ids = list(token_ids)
    return Prefix(ids, len(ids) if certified is None else certified, None, {})


A, B = range(0, 100), range(1000, 1100)


def test_the_one_that_saves_the_most_comes_back_once() -> None:
    kept = Prefixes(1000)
    kept.add(prefix(*A[:70]))
    kept.add(prefix(*A[:70], *B))
    assert kept.take([*A[:70], 7], "exact", than=0) is not None
    assert kept.take([*A[:70], *B], "exact", than=0) is None, "it is in the cache now"


def test_what_saves_little_stays() -> None:
    kept = Prefixes(1000)
    kept.add(prefix(*A))
    assert kept.take(A, "exact", than=60) is None
    assert kept.take(A[:50], "exact", than=0) is None
    assert kept.take(A, "exact", than=30) is not None


def test_exact_answers_take_what_certified_widths_computed() -> None:
    kept = Prefixes(1000)
    kept.add(prefix(*A, certified=10))
    assert kept.take(A, "exact", than=0) is None
    assert kept.take(A, "fast", than=0) is not None


def test_the_oldest_make_way() -> None:
    kept = Prefixes(250)
    for number in range(3):
        kept.add(prefix(*range(1000 * number, 1000 * number + 100)))
    assert len(kept) == 2
    assert kept.take(range(100), "exact", than=0) is None
    assert not kept.takes(range(300))
    many = Prefixes(10**6)
    for number in range(MOST + 2):
        many.add(prefix(*range(1000 * number, 1000 * number + 100)))
    assert len(many) == MOST


def test_a_conversation_stands_there_once() -> None:
    kept = Prefixes(1000)
    kept.add(prefix(*A[:80]))
    kept.add(prefix(*A))
    assert len(kept) == 1
    assert not kept.takes(A[:90])
    kept.clear()
    assert kept.takes(A[:90])
