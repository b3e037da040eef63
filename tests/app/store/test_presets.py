"""Presets of a system prompt and sampling: kept by name, read whatever the database holds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.presets import KEY, MOST, Presets
from app.store.records import ConversationSettings
from app.store.store import Store
from engine.config import Sampling

PIRATE = ConversationSettings(system="Speak as a pirate.", sampling=Sampling(temperature=1.2, top_p=0.9, seed=7))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "slipstream.db")
    yield store
    store.close()


def test_a_preset_is_kept_replaced_used_deleted_and_put_back(store: Store) -> None:
    presets = Presets(store)
    presets.save("  pirate ", PIRATE)
    presets.save("Clerk", ConversationSettings(system="Be brief."))
    presets.save("Clerk", ConversationSettings(system="Be very brief."))
    assert [preset.name for preset in presets.all()] == ["Clerk", "pirate"]
    mine = ConversationSettings(max_tokens=7, seed=3)
    used = presets.get("pirate").applied_to(mine)
    assert (used.system, used.sampling.temperature, used.max_tokens, used.seed) == (PIRATE.system, 1.2, 7, 3)
    gone = presets.delete("pirate")
    with pytest.raises(ValueError, match="no preset of that name"):
        presets.get("pirate")
    presets.put_back(gone)
    assert presets.get("pirate") == gone


@pytest.mark.parametrize("name", ["", " \n", "n" * 61])
def test_a_name_that_cannot_be_is_refused_and_nothing_is_kept(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Presets(store).save(name, PIRATE)
    assert Presets(store).all() == []


def test_there_are_only_so_many(store: Store) -> None:
    presets = Presets(store)
    store.set_setting(KEY, [{"name": f"{number}"} for number in range(MOST)])
    presets.save("5", PIRATE)  # in place of another
    with pytest.raises(ValueError, match="delete one first"):
        presets.save("one more", PIRATE)


@pytest.mark.parametrize("damaged", [None, 3, "x", [1], [{"name": 3}], [{"name": "a", "sampling": {"seed": "x"}}]])
def test_what_is_damaged_is_left_out(store: Store, damaged: object) -> None:
    store.set_setting(KEY, damaged)
    assert all(preset.name == "a" for preset in Presets(store).all())


def test_what_cannot_be_read_stays_when_another_is_saved(store: Store) -> None:
    strange = [1, {"name": 3}]
    store.set_setting(KEY, strange)
    Presets(store).save("mine", PIRATE)
    assert [preset.name for preset in Presets(store).all()] == ["mine"]
    assert store.get_setting(KEY)[1:] == strange
