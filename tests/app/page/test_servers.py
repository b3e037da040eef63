"""The section for servers: the question before anything is sent, the key, the models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.chat.services import Services
from app.page.events import Refused
from app.page.gradio_internals import Page
from app.page.layout import build_parts
from app.page.pace import Pacer
from app.page.presenter import Presenter
from app.page.servers import ServerHandlers
from app.page.tab import Tab
from app.servers import Servers
from app.store.store import Store
from engine.config import ModelSpec
from engine.remote.address import Address
from engine.remote.either import EitherEngine
from engine.remote.engine import RemoteEngine
from tests.remote_server import SOON, FakeServer, running
from tests.scripted import ScriptedEngine
from tests.turns import wait_until


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    store, servers = Store(tmp_path / "slipstream.db"), Servers(tmp_path / "servers.json")
    yield Services(EitherEngine(ScriptedEngine(), RemoteEngine(servers, SOON)), store, servers=servers)
    store.close()


def handlers(services: Services) -> ServerHandlers:
    with Page():
        parts = build_parts([])
    return ServerHandlers(services, parts, Presenter(services, parts, Pacer()))


def steps(shown: Iterator[dict[Any, Any]]) -> dict[Any, Any]:
    """All that was shown, the last value of each part."""
    seen: dict[Any, Any] = {}
    for step in shown:
        seen |= step
    return seen


def test_another_machine_is_asked_nothing_before_it_is_confirmed(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Address, "is_here", property(lambda self: False))
    page, server, tab = handlers(services), FakeServer(models=("first", "second")), Tab()
    own = page._own
    with running(server) as url:
        shown = steps(page.connect(tab, url, "sk-secret"))
        assert server.paths == []
        assert "is another machine" in shown[own.said]
        assert "not encrypted" in shown[own.said]
        assert (shown[own.confirm], shown[own.key]) == (gr.update(visible=True), "")
        shown = steps(page.confirm(tab, url))
        assert shown[own.confirm] == gr.update(visible=False)
        assert shown[own.model] == gr.update(choices=["first", "second"], value="first", visible=True)
        assert set(server.keys) == {"Bearer sk-secret"}
        assert services.engine.info is not None
        assert services.engine.info.name == "first"
        steps(page.choose(tab, url, "second"))
        assert services.engine.info.name == "second"
        assert page.look()[own.address] == url
        forgotten = page.forget(url)
        assert "is forgotten" in forgotten[own.said]
        asked = len(server.paths)
        shown = steps(page.connect(tab, url, ""))
        assert "is another machine" in shown[own.said]
        assert len(server.paths) == asked


def test_a_server_that_was_named_on_the_command_line_waits_to_be_confirmed(services: Services) -> None:
    services.loader.load(ModelSpec(model="http://192.0.2.1:8080"))
    wait_until(lambda: not services.loader.state().running)
    assert "Nothing has been sent" in (services.loader.state().error or "")
    page = handlers(services)
    shown = page.look()
    assert shown[page._own.address] == "http://192.0.2.1:8080"
    assert shown[page._own.confirm] == gr.update(visible=True)


def test_what_a_try_came_to_goes_with_the_next_one_and_is_not_said_to_a_page_opened_later(services: Services) -> None:
    page, early = handlers(services), Tab()
    header = page._parts.header
    services.loader.load(ModelSpec(model="some/model"))
    wait_until(lambda: not services.loader.state().running)
    assert "some/model is used instead" in steps(page.connect(early, "http://127.0.0.1:9", ""))[header]["passing"]
    late = Tab(opened_at=services.loader.state().sequence)
    assert "used instead" in page._presenter.header(early)["passing"]
    assert page._presenter.header(late)["passing"] == ""
    shown = steps(page.connect(early, "http://192.0.2.1:8080", ""))  # which waits to be confirmed
    assert shown[header]["passing"] == ""


def test_models_whose_names_are_none_break_no_page(services: Services) -> None:
    page = handlers(services)
    with running(FakeServer(models=("x" * 600, "two\nlines", "first", "second"))) as url:
        shown = steps(page.connect(Tab(), url, ""))
        assert shown[page._own.model] == gr.update(choices=["first", "second"], value="first", visible=True)
        assert page.look()[page._own.address] == url


@pytest.mark.parametrize("text", ["", None, 7, "127.0.0.1:8080", "http://me:secret@host"])
def test_what_is_no_address_is_refused(services: Services, text: Any) -> None:
    page = handlers(services)
    for handle in (lambda: steps(page.connect(Tab(), text, "")), lambda: page.forget(text)):
        with pytest.raises(ValueError, match=r"address|Write") as caught:
            handle()
        assert "secret" not in str(caught.value)


def test_without_servers_the_section_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "slipstream.db")
    page = handlers(Services(ScriptedEngine(), store))
    with pytest.raises(Refused, match="not reached from here"):
        steps(page.connect(Tab(), "http://127.0.0.1:1", ""))
    store.close()
