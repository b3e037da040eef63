"""Our own API as the server of another Slipstream: its words, its figures, its switch, its key."""

import pytest

from engine.config import GenerationRequest, Message, Mode, ModelSpec
from engine.errors import KeyRefused
from engine.events import Finished
from engine.metrics import Speculation
from engine.remote.engine import RemoteEngine
from tests.api import Api
from tests.remote_server import SOON, Trusts
from tests.turns import ANSWER


@pytest.mark.parametrize("mode", ["adaptive", "plain"])
def test_its_figures_are_the_first_ones_own(mode: Mode, api: Api, address: str) -> None:
    engine = RemoteEngine(Trusts(keys={address: api.key}), SOON)
    list(engine.load(ModelSpec(model=address)))
    assert engine.info is not None
    assert engine.info.server is not None
    assert (engine.info.server.kind, engine.info.server.switches) == ("Slipstream", True)
    request = GenerationRequest(messages=(Message.of("user", "a question"),), mode=mode)
    *_, there = engine.generate(request)
    *_, own = api.engine.generate(request)
    assert isinstance(there, Finished)
    assert isinstance(own, Finished)
    assert (there.text, there.stats.num_tokens) == (ANSWER, own.stats.num_tokens)
    assert there.stats.served is not None
    told = there.stats.served.answer
    assert told is not None
    assert (told.drafted, told.accepted) == (own.stats.drafted, own.stats.accepted)
    assert (told.drafted == 0) == (mode == "plain")
    if mode == "plain":
        assert told == Speculation(drafted=0, accepted=0)
    else:
        drafts = [size for size in own.stats.draft_sizes if size]
        assert told.num_drafts == len(drafts)
        assert told.mean_length == pytest.approx(1 + own.stats.accepted / len(drafts))


def test_its_key_is_wanted(api: Api, address: str) -> None:
    with pytest.raises(KeyRefused, match="does not take this key"):
        list(RemoteEngine(Trusts(keys={address: "another"}), SOON).load(ModelSpec(model=address)))
