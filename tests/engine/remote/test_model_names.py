"""Names of models as servers list them: those that can be shown, and no more than a page can take."""

import json
from collections.abc import Sequence

import pytest
from starlette.responses import Response

from engine.config import ModelSpec
from engine.errors import ModelNotFound
from engine.events import ModelInfo, ServerInfo
from engine.remote.address import parse
from engine.remote.engine import RemoteEngine
from tests.remote_server import SOON, FakeServer, Trusts, running

UNFIT = ("two\nlines", "\x1b[1mbold", "half \ud800", "wide\u2028line", " led by a space", "x" * 301)


def told(url: str) -> tuple[ModelInfo, ServerInfo]:
    engine = RemoteEngine(Trusts(), SOON)
    list(engine.load(ModelSpec(model=url)))
    assert engine.info is not None
    assert engine.info.server is not None
    return engine.info, engine.info.server


def list_of(names: Sequence[str]) -> Response:
    return Response(json.dumps({"data": [{"id": name} for name in names]}), media_type="application/json")


def test_names_of_models_that_no_page_can_show_are_dropped() -> None:
    names = (*UNFIT, *(f"model-{number}" for number in range(300)))
    with running(FakeServer(says={"/v1/models": list_of(names)})) as url:
        info, server = told(url)
        assert (info.name, server.models) == ("model-0", tuple(f"model-{number}" for number in range(200)))
        info, server = told(f"{url}#model-299")
        assert (info.name, server.models[-1], len(server.models)) == ("model-299", "model-299", 200)
        with pytest.raises(ModelNotFound, match=r"it offers model-0, model-1, .*model-7\.$"):
            told(f"{url}#third")
    with running(FakeServer(says={"/v1/models": list_of(["x" * 300] * 9)})) as url:
        with pytest.raises(ModelNotFound) as caught:
            told(f"{url}#third")
        assert len(str(caught.value)) < 500
    with (
        running(FakeServer(says={"/v1/models": list_of(UNFIT)})) as url,
        pytest.raises(ModelNotFound, match="none of its models has a name that can be shown"),
    ):
        told(url)


def test_every_model_that_is_offered_can_be_named_with_the_address() -> None:
    long = "/" + "p" * 300
    name = "x" * 300
    with running(FakeServer(says={f"{long}/v1/models": list_of([name, "short"])})) as url:
        info, _ = told(url + long)
        assert parse(info.path).model == "short"
