"""What is written is read again as it was; what does not fit is refused in a sentence that names the location."""

import json
import math
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import codec
from engine.config import GenerationRequest, Message, ModelSpec, Sampling
from engine.events import Certificate, Divergence, ModelInfo
from tests.scripted_answer import scripted_info

LIMIT = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    level: int = 1
    share: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    name: str
    count: int
    share: float
    on: bool
    kind: Literal["a", "b"]
    made: datetime
    ids: tuple[int, ...]
    pairs: tuple[tuple[int, float], ...]
    inner: Inner
    maybe: Inner | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept(codec.Keeping):
    inner: Inner = field(default_factory=Inner)
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences(codec.Settings):
    inner: Inner = field(default_factory=Inner)
    name: str = ""
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    preferences: Preferences
    kept: tuple[Kept, ...] = ()


WHOLE: dict[str, Any] = {
    "name": "é",
    "count": 3,
    "share": 1,
    "on": True,
    "kind": "b",
    "made": "2026-01-31T10:30:00+01:00",
    "ids": [1, 2],
    "pairs": [[1, 2]],
    "inner": {},
}

floats = st.floats(allow_nan=False)
inners = st.builds(Inner, level=st.integers(-LIMIT, LIMIT - 1), share=floats)
everything = st.builds(
    Everything,
    name=st.text(st.characters(exclude_categories=["Cs"])),
    count=st.integers(-LIMIT, LIMIT - 1),
    share=floats,
    on=st.booleans(),
    kind=st.sampled_from(["a", "b"]),
    made=st.datetimes(datetime(1971, 1, 1), timezones=st.just(UTC)),
    ids=st.lists(st.integers(-LIMIT, LIMIT - 1)).map(tuple),
    pairs=st.lists(st.tuples(st.integers(0, 9), floats)).map(tuple),
    inner=inners,
    maybe=st.none() | inners,
    number=st.none() | st.integers(0, 9),
)


@given(everything)
def test_there_and_back_gives_the_same(value: Everything) -> None:
    text = codec.dumps(value)
    assert codec.loads(Everything, text, "x") == value
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize(
    "value",
    [
        scripted_info(ModelSpec()),
        replace(scripted_info(ModelSpec()), exact=None, cost_curve=None, exact_cost=None),
        GenerationRequest(messages=(Message.of("user", "x"),), stop=("a",), sampling=Sampling(seed=LIMIT - 1)),
        Divergence(position=1, plain_id=None, adaptive_id=2, margin=math.inf),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_engine_s_values_survive(value: Any) -> None:
    assert codec.loads(type(value), codec.dumps(value), "x") == value


def test_what_is_missing_takes_its_default_and_whole_numbers_are_numbers() -> None:
    value = codec.load(Everything, WHOLE, "x")
    assert (value.share, value.inner, value.maybe) == (1.0, Inner(), None)
    assert value.made == datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    assert codec.date_text(value.made.astimezone(timezone(timedelta(hours=5)))) == "2026-01-31T09:30:00.000000+00:00"
    assert codec.load(Certificate, {"setting": "exact", "tier": "A", "widths": [1]}, "x").trees is False


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": 5}, "x.name must be text; got 5."),
        ({"name": "a\ud800"}, "x.name holds half of a character (a lone surrogate); write the whole one."),
        ({"count": True}, "x.count must be a whole number; got true."),
        ({"count": 1.0}, "x.count must be a whole number; got 1.0."),
        ({"count": "1"}, 'x.count must be a whole number; got "1".'),
        ({"count": LIMIT}, f"x.count must be a whole number; got {LIMIT}."),
        ({"count": -LIMIT - 1}, f"x.count must be a whole number; got -{LIMIT + 1}."),
        ({"share": True}, "x.share must be a number; got true."),
        ({"share": "1"}, 'x.share must be a number; got "1".'),
        ({"share": math.inf}, "x.share must be a number; got Infinity."),
        ({"share": 10**400}, f"x.share must be a number; got 1{'0' * 56}...."),
        ({"on": 1}, "x.on must be true or false; got 1."),
        ({"kind": "c"}, 'x.kind must be one of a, b; got "c".'),
        ({"kind": ["a"]}, 'x.kind must be one of a, b; got ["a"].'),
        ({"made": 5}, "x.made must be a date with a time zone, such as 2026-01-31T09:30:00+00:00; got 5."),
        ({"made": "2026-01-01"}, "x.made must be a date with a time zone"),
        ({"made": "0001-01-01T00:00:00+23:00"}, "x.made must be a date with a time zone"),
        ({"ids": 5}, "x.ids must be a list; got 5."),
        ({"ids": "12"}, 'x.ids must be a list; got "12".'),
        ({"ids": {"1": 2}}, 'x.ids must be a list; got {"1": 2}.'),
        ({"ids": [1, False]}, "x.ids[1] must be a whole number; got false."),
        ({"pairs": [[1, 2], [1]]}, "x.pairs[1]"),
        ({"pairs": [[1, 2, 3]]}, "x.pairs[0] has a wrong number of entries; got [1, 2, 3]."),
        ({"inner": None}, "x.inner must be an object; got null."),
        ({"inner": {"level": "x"}}, 'x.inner.level must be a whole number; got "x".'),
        ({"maybe": {"level": "x"}}, 'x.maybe.level must be a whole number; got "x".'),
        ({"inner": {"extra": 1}}, "x.inner has an unknown field 'extra'."),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}"):
        codec.load(Everything, WHOLE | change, "x")


@pytest.mark.parametrize("name", ["name", "count", "inner"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"x lacks the field '{name}'"):
        codec.load(Everything, {key: value for key, value in WHOLE.items() if key != name}, "x")


def test_what_a_class_refuses_is_named_with_its_location() -> None:
    said = codec.dump((Message.of("user", "x"),))
    with pytest.raises(ValueError, match=r"^x\.sampling: top_p must be above 0"):
        codec.load(GenerationRequest, {"messages": said, "sampling": {"top_p": 0}}, "x")


def test_text_that_is_not_json_is_said() -> None:
    for text in (None, "{", "[" * 100_000):
        with pytest.raises(ValueError, match="x is not JSON"):
            codec.loads(Divergence, text, "x")


def test_half_a_character_passes_where_it_is_asked_for() -> None:
    name = codec.load(Everything, WHOLE | {"name": "\udcff"}, "x", any_text=True).name
    assert name == "\udcff"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["more", "kept", "newer"]), json_values), json_values)
def test_unknown_fields_are_kept_and_written_again(more: dict[str, Any], newer: object) -> None:
    data = {"name": "n", "inner": {"level": 2, "share": 0.5, "newer": newer}, **more}
    holder = {"preferences": data | {"kind": "b"}, "kept": [data]}
    value = codec.load(Holder, holder, "x")
    assert (value.kept[0].name, value.kept[0].inner) == ("n", Inner(level=2))
    assert codec.dump(value) == holder
    assert value.kept[0] == Kept(name="n", inner=Inner(level=2)), "equal where what is known is"


@given(st.fixed_dictionaries({}, optional={"name": json_values, "kind": json_values, "inner": json_values}))
def test_a_setting_that_does_not_fit_falls_back_alone(data: dict[str, Any]) -> None:
    for value in (
        codec.load_settings(Preferences, data, "x"),
        codec.load(Holder, {"preferences": data}, "x").preferences,
    ):
        assert value.name == (data["name"] if isinstance(data.get("name"), str) else "")
        assert value.kind == (data["kind"] if data.get("kind") in ("a", "b") else "a")
    nested = codec.load_settings(Preferences, {"inner": {"level": "x", "share": 0.25}, "name": "n"}, "x")
    assert nested == Preferences(inner=Inner(share=0.25), name="n")


def test_unknown_fields_have_a_limit_of_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_UNKNOWN_BYTES", 100)
    for newer, fits in (("x" * 60, True), ("é" * 60, False)):
        for holder in ({"preferences": {"inner": {"newer": newer}}}, {"preferences": {}, "kept": [{"newer": newer}]}):
            if fits:
                assert codec.load(Holder, holder, "x")
            else:
                with pytest.raises(ValueError, match=r"unknown fields are larger than 100 bytes"):
                    codec.load(Holder, holder, "x")


def test_settings_that_are_no_object_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x must be an object; got \[\]"):
        codec.load_settings(Preferences, [], "x")
    with pytest.raises(ValueError, match=r"x\.preferences must be an object; got null"):
        codec.load(Holder, {"preferences": None}, "x")


def test_a_model_s_info_is_checked_too() -> None:
    data = codec.dump(scripted_info(ModelSpec()))
    with pytest.raises(ValueError, match=r"x\.exact\.widths\[0\] must be a whole number"):
        codec.load(ModelInfo, data | {"exact": data["exact"] | {"widths": [None]}}, "x")
