"""A conversation that a server answers: what is kept, what is shown, and what another model may make of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.responses import JSONResponse

from app.chat.services import Services
from app.exchange.own import export_json, import_json
from app.servers import Servers
from app.store.records import ConversationSettings, StoredMessage
from app.store.store import Store
from app.view.live import idle_live, run_figures, turn_live
from app.view.messages import footer, footer_detail
from app.view.model import badge, model_detail, page_header
from engine.config import ModelSpec
from engine.errors import EngineBusy, NotConfirmed
from engine.remote.address import parse
from engine.remote.either import EitherEngine
from engine.remote.engine import RemoteEngine
from tests.remote_server import DONE, SOON, FakeServer, delta, end, event, for_ever, running
from tests.scripted import ScriptedEngine
from tests.turns import finish, wait_until

FIGURES = {"timings": {"predicted_n": 5, "draft_n": 12, "draft_n_accepted": 3}}
DRAFTED = (event(delta("one two")), event(delta(" three")), event(end()), event({"choices": [], **FIGURES}), DONE)
SLOTS = {"/slots": [{"speculative": True, "params": {"speculative.types": "ngram-mod"}}]}


@pytest.fixture
def services(store: Store, tmp_path: Path) -> Iterator[Services]:
    servers = Servers(tmp_path / "servers.json")
    engine = EitherEngine(ScriptedEngine(), RemoteEngine(servers, SOON))
    services = Services(engine, store, servers=servers)
    yield services
    services.close()


def load(services: Services, model: str) -> None:
    services.load(model, "none", "auto")
    wait_until(lambda: not services.loader.state().running)
    assert services.loader.state().error is None


def answer(services: Services, conversation_id: int, text: str = "a question") -> StoredMessage:
    turn = services.chat.send(conversation_id, text)
    finish(turn)
    return services.store.message(turn.message_id)


def test_a_server_that_does_not_answer_costs_no_model(services: Services) -> None:
    load(services, "some/model")
    local = services.engine.info
    services.load("http://127.0.0.1:9", "none", "auto")
    wait_until(lambda: not services.loader.state().running)
    state = services.loader.state()
    assert (state.error, state.spec) == (None, services.loader.present)
    assert state.notice is not None
    assert "Nobody answers" in state.notice
    assert "some/model is used instead" in state.notice
    assert services.engine.info is local is not None, "it was not loaded anew"


def test_a_second_try_is_refused_while_the_first_one_runs(services: Services) -> None:
    busy = JSONResponse({}, 503, headers={"Retry-After": "60"})
    with running(FakeServer(says={"/v1/models": lambda: busy})) as url:
        services.load(url, "none", "auto")
        with pytest.raises(EngineBusy, match=f"{url} is still being tried: wait until it answers"):
            services.load(url, "none", "auto")
        services.loader.unload()


def test_the_page_shows_the_servers_own_figures(services: Services) -> None:
    with running(FakeServer(owner="llamacpp", says=SLOTS, answers=(DRAFTED,))) as url:
        load(services, url)
        assert services.settings.recent_models[0] == url
        turn = services.chat.send(services.new_conversation(ConversationSettings()), "a question")
        finish(turn)
    message = services.store.message(turn.message_id)
    assert (message.text, message.status, message.token_ids) == ("one two three", "complete", ())
    live = turn_live(turn.state())
    assert "3 of 12 draft tokens accepted, says the server" in live.sentence
    assert live.served.splitlines() == [
        "llama-server's own figures",
        "this answer: 3 of 12 draft tokens accepted",
    ]
    assert live.ttft is not None
    assert live.speedup is None
    assert message.run is not None
    assert run_figures(message.run)["served"] == live.served
    assert "by llama-server · 3 of 12 draft tokens accepted" in footer(message.run)
    assert "by the clock here" in footer_detail(message.run)
    info = services.engine.info
    assert info is not None
    head = page_header(None, "", info, "exact", "")
    assert head["where"]["label"] == f"to {info.device_name}"
    assert "both ways" in head["server"]["compare"]
    shown = badge(info, "exact")
    assert shown is not None
    assert (shown["kind"], shown["label"]) == ("absent", "no certificate")
    assert "started with drafts (ngram-mod)" in idle_live(info, "adaptive", "adaptive").sentence
    assert "the switch changes nothing there" in idle_live(info, "plain", "adaptive").sentence
    with pytest.raises(ValueError, match="cannot compare"):
        services.chat.compare_last(message.conversation_id)


def test_without_drafts_the_flags_stand_there(services: Services) -> None:
    with running(FakeServer(owner="llamacpp", says={"/slots": [{"speculative": False}]})) as url:
        load(services, url)
    info = services.engine.info
    assert info is not None
    assert "without drafts: --spec-type ngram-mod switches N-grams on" in idle_live(info, "plain", "adaptive").sentence
    assert "N-gram drafts are switched on there by --spec-type ngram-mod" in model_detail(info)
    assert info.server is not None
    away = replace(
        info, device_name="192.0.2.1:80", server=replace(info.server, is_here=False, address="http://192.0.2.1:80")
    )
    where = page_header(None, "", away, "exact", "")["where"]
    assert where["kind"] == "away"
    assert where["detail"].endswith("another machine. The line is not encrypted.")


def test_a_lost_connection_keeps_the_partial_answer_and_says_so(services: Services) -> None:
    with running(FakeServer(answers=((event(delta("one two")),),))) as url:
        load(services, url)
        message = answer(services, services.new_conversation(ConversationSettings()))
    assert (message.text, message.status) == ("one two", "interrupted")
    assert message.error is not None
    assert "The connection" in message.error
    assert "the answer so far is kept" in message.error


def test_stopping_keeps_what_came(services: Services) -> None:
    server = FakeServer(answers=((event(delta("one")), for_ever),))
    with running(server) as url:
        load(services, url)
        turn = services.chat.send(services.new_conversation(ConversationSettings()), "a question")
        wait_until(lambda: turn.state().text == "one")
        turn.stop()
        finish(turn)
        wait_until(lambda: server.left == 1)
    message = services.store.message(turn.message_id)
    assert (message.text, message.status) == ("one", "stopped")


def test_ids_of_another_model_never_stand_for_what_a_server_wrote(services: Services) -> None:
    """Else the model here would go on with the ids alone, without the server's words."""
    load(services, "starter")
    conversation_id = services.new_conversation(ConversationSettings(max_tokens=4))
    first = answer(services, conversation_id)
    assert first.token_ids
    with running(FakeServer(owner="vllm", answers=((event(delta(" there")), event(end("length")), DONE),))) as url:
        load(services, url)
        turn = services.chat.continue_answer(conversation_id, first.id)
        finish(turn)
    assert services.store.message(first.id).text == f"{first.text} there"
    assert services.store.message(first.id).token_ids == ()


def test_nothing_goes_to_another_machine_unasked(services: Services) -> None:
    with pytest.raises(NotConfirmed, match="Nothing has been sent"):
        services.load("http://192.0.2.1:8080", "none", "auto")
    with pytest.raises(ValueError, match="a name or a password") as caught:
        services.load("http://me:secret@192.0.2.1", "none", "auto")
    assert "secret" not in str(caught.value)
    assert services.loader.state().spec is None
    services.load_first(named=False)  # an address that was remembered is asked for as any other one
    wait_until(lambda: not services.loader.state().running)


def test_no_key_is_in_the_database_or_an_export(services: Services, tmp_path: Path) -> None:
    server = FakeServer(key="sk-secret", answers=(DRAFTED,))
    with running(server) as url:
        assert services.servers is not None
        services.servers.keep_key(parse(url), "sk-secret")
        load(services, url)
        message = answer(services, services.new_conversation(ConversationSettings()))
    assert message.status == "complete"
    exported = export_json(services.store, [message.conversation_id])
    assert "sk-secret" not in exported
    assert url not in exported
    (copy,) = import_json(services.store, exported)
    assert services.store.path(copy)[-1].run == message.run
    for file in tmp_path.glob("slipstream.db*"):
        assert b"sk-secret" not in file.read_bytes()


def test_an_address_is_no_name_of_the_model_for_other_programs(services: Services) -> None:
    with running(FakeServer()) as url:
        load(services, url)
    assert services.model_names == ()
    services.loader.load(ModelSpec(model="starter"))
    wait_until(lambda: not services.loader.state().running)
    assert services.model_names == ("starter",)
