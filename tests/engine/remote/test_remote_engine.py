"""A server as an engine: confirming, keys, tries, stopping, silence, and what it is asked."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from engine.config import GenerationRequest, Message, ModelSpec, Sampling
from engine.errors import (
    ContextOverflow,
    EngineError,
    KeyRefused,
    ModelNotFound,
    NetworkUnavailable,
    NotConfirmed,
    ServerLost,
    ServerUnavailable,
)
from engine.events import Finished, LoadProgress, ServerProgress, TextDelta
from engine.remote.either import EitherEngine
from engine.remote.engine import RemoteEngine
from engine.remote.http import Patience
from tests.remote_server import ANSWER, DONE, SOON, FakeServer, Step, Trusts, delta, end, event, for_ever, running
from tests.scripted import ScriptedEngine
from tests.turns import wait_until

REQUEST = GenerationRequest(messages=(Message.of("user", "a question"),))


def loaded(url: str, trust: Trusts | None = None, patience: Patience = SOON) -> RemoteEngine:
    engine = RemoteEngine(trust or Trusts(), patience)
    list(engine.load(ModelSpec(model=url)))
    return engine


def answered(engine: RemoteEngine, request: GenerationRequest = REQUEST) -> Finished:
    last = list(engine.generate(request))[-1]
    assert isinstance(last, Finished)
    return last


# Where words and keys go


def test_nothing_goes_to_another_machine_before_it_is_confirmed() -> None:
    engine = RemoteEngine(Trusts(), SOON)
    with pytest.raises(NotConfirmed, match=r"Nothing has been sent to http://192\.0\.2\.1:8080"):
        list(engine.load(ModelSpec(model="http://192.0.2.1:8080")))
    with pytest.raises(NetworkUnavailable, match="Offline mode"):
        list(engine.load(ModelSpec(model="http://192.0.2.1:8080", offline=True)))


def test_a_confirmation_that_was_taken_back_holds_for_the_next_answer() -> None:
    with running(FakeServer()) as url:
        trust = Trusts()
        engine = loaded(url, trust)
        assert engine._there is not None
        contact, server = engine._there
        away = replace(contact.address, host="192.0.2.1")
        engine._there = replace(contact, address=away), server
        with pytest.raises(NotConfirmed):
            list(engine.generate(REQUEST))


def test_no_redirect_carries_the_key_or_the_words() -> None:
    other = FakeServer()
    with running(other) as elsewhere, running(FakeServer(redirect=elsewhere)) as url:
        with pytest.raises(EngineError, match="sends its visitors elsewhere"):
            loaded(url, Trusts(keys={url: "secret"}))
        assert other.paths == []
    turns = FakeServer(answers=(Response(status_code=308, headers={"Location": "http://192.0.2.1/"}),))
    with running(turns) as url, pytest.raises(EngineError, match="sends its visitors elsewhere"):
        answered(loaded(url))


def test_the_key_is_shown_to_its_address_alone_and_never_repeated(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = FakeServer(key="right-key")
    with running(server) as url:
        with pytest.raises(KeyRefused, match="wants a key: give its key"):
            loaded(url)
        with pytest.raises(KeyRefused, match="does not take this key") as caught:
            loaded(url, Trusts(keys={url: "wrong-key"}))
        assert "wrong-key" not in str(caught.value), "the server quotes it"
        engine = loaded(url, Trusts(keys={url: "right-key", "http://192.0.2.1": "another-key"}))
        answered(engine)
        assert not any("another-key" in key for key in server.keys)
        assert "right-key" not in repr(engine._there) + repr(engine.info)
    assert "-key" not in caplog.text


# What is tried again


def test_a_busy_server_is_asked_again_before_the_first_word() -> None:
    busy = JSONResponse({"error": {"message": "too many"}}, 429, headers={"Retry-After": "0"})
    server = FakeServer(answers=(busy, Response("bad gateway", 502), ANSWER))
    with running(server) as url:
        events = list(loaded(url).generate(REQUEST))
    assert isinstance(events[-1], Finished)
    assert events[-1].text == "one two"
    assert [each.note for each in events if isinstance(each, ServerProgress) and each.note] == [
        "the server cannot answer yet: asking again"
    ] * 2
    assert len(server.asked) == 3


def test_a_server_that_stays_busy_is_given_up() -> None:
    server = FakeServer(answers=(Response("x", 503),))
    with running(server) as url, pytest.raises(ServerUnavailable, match=r"cannot answer now \(503\)"):
        answered(loaded(url))
    assert len(server.asked) == 1 + len(SOON.backoff_s)


def test_nothing_is_asked_again_once_words_have_come() -> None:
    server = FakeServer(answers=((event(delta("one")),), ANSWER))
    with running(server) as url, pytest.raises(ServerLost):
        answered(loaded(url))
    assert len(server.asked) == 1


def test_a_server_that_loads_its_model_is_waited_for() -> None:
    loading = JSONResponse({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, 503)
    models = iter([loading] * 5 + [JSONResponse({"data": [{"id": "m", "owned_by": "llamacpp"}]})])
    server = FakeServer(says={"/v1/models": lambda: next(models)})
    with running(server) as url:
        steps = list(RemoteEngine(Trusts(), SOON).load(ModelSpec(model=url)))
    assert sum("loads its model" in step.message for step in steps) == 5
    assert steps[-1].stage == "ready"


def test_nobody_there() -> None:
    with running(FakeServer()) as url:
        engine = loaded(url)
    load = iter(RemoteEngine(Trusts(), SOON).load(ModelSpec(model=url)))
    assert next(load).stage == "find"
    assert next(load).message == "No server answers there yet: asking again"
    with pytest.raises(ServerUnavailable):
        list(load)
    with pytest.raises(ServerUnavailable, match=f"Nobody answers at {url}"):
        answered(engine)


def test_a_silent_server() -> None:
    short = replace(SOON, first_s=0.2, silence_s=0.2)
    with running(FakeServer(answers=((for_ever,),))) as url, pytest.raises(ServerUnavailable, match="in time"):
        answered(loaded(url, patience=short))
    with (
        running(FakeServer(answers=((event(delta("x")), for_ever),))) as url,
        pytest.raises(ServerLost, match="silent"),
    ):
        answered(loaded(url, patience=short))


@pytest.mark.parametrize(
    ("failure", "kind", "says"),
    [
        (
            JSONResponse({"error": {"message": "the request exceeds the available context size"}}, 400),
            ContextOverflow,
            "context",
        ),
        (
            JSONResponse({"object": "error", "message": "min_p is not supported", "code": 400}, 400),
            EngineError,
            "min_p is not",
        ),
        (JSONResponse({"detail": [{"msg": "field required"}]}, 422), EngineError, "field required"),
        (JSONResponse({"error": {"message": "no such model"}}, 404), ModelNotFound, "no such model"),
        (Response("<html>nginx</html>", 413), EngineError, r"refuses the request \(413\)\.$"),
        (JSONResponse({"error": "red\x1b[31m\r\n\x9band more"}, 500), EngineError, r"It says: red \[31m and more\.$"),
    ],
)
def test_what_a_server_refuses_is_told_in_its_own_words(failure: Response, kind: type[Exception], says: str) -> None:
    with running(FakeServer(answers=(failure,))) as url, pytest.raises(kind, match=says):
        answered(loaded(url))


# Stopping


@pytest.mark.parametrize("steps", [(for_ever,), (event(delta("one")), for_ever)])
def test_stopping_closes_the_connection(steps: Sequence[Step]) -> None:
    server = FakeServer(answers=(steps,))
    with running(server) as url:
        answer = loaded(url).generate(REQUEST)
        events: list[Any] = []
        reader = threading.Thread(target=lambda: events.extend(answer))
        reader.start()
        wait_until(lambda: bool(server.asked) and (len(steps) == 1 or any(isinstance(e, TextDelta) for e in events)))
        answer.cancel()
        reader.join(10)
        wait_until(lambda: server.left == 1)
    assert isinstance(events[-1], Finished)
    assert (events[-1].stop_reason, events[-1].text) == ("cancelled", "one" if len(steps) > 1 else "")


def test_an_answer_that_is_given_up_frees_the_engine() -> None:
    server = FakeServer(answers=((event(delta("one")), for_ever), ANSWER))
    with running(server) as url:
        engine = loaded(url)
        answer = iter(engine.generate(REQUEST))
        while not isinstance(next(answer), TextDelta):
            pass
        answer.close()  # type: ignore[attr-defined]
        assert answered(engine).text == "one two"
        assert server.left == 1


def test_cancelling_before_the_beginning_asks_nothing_to_the_end() -> None:
    with running(FakeServer(answers=((for_ever,),))) as url:
        answer = loaded(url).generate(REQUEST)
        answer.cancel()
        last = list(answer)[-1]
    assert isinstance(last, Finished)
    assert last.stop_reason == "cancelled"


def test_a_load_can_be_cancelled() -> None:
    with running(FakeServer(says={"/v1/models": lambda: JSONResponse({}, 503, headers={"Retry-After": "60"})})) as url:
        load = RemoteEngine(Trusts(), SOON).load(ModelSpec(model=url))
        assert next(load).stage == "find"
        assert "asking again" in next(load).message
        load.cancel()
        with pytest.raises(EngineError, match="was cancelled"):
            list(load)


# What is asked


def asked(owner: str, request: GenerationRequest, **server: Any) -> dict[str, Any]:
    fake = FakeServer(owner=owner, **server)
    with running(fake) as url:
        answered(loaded(url), request)
    return fake.asked[0]


SAMPLED = replace(REQUEST, sampling=Sampling(temperature=0.5, seed=7), stop=("END",), max_tokens=9)


def test_every_kind_is_asked_in_its_own_words() -> None:
    llama, vllm, sglang, own, other = (
        asked(owner, SAMPLED) for owner in ("llamacpp", "vllm", "sglang", "slipstream", "somebody")
    )
    for body in (llama, vllm, sglang, own, other):
        assert (body["model"], body["seed"], body["max_tokens"], body["stop"]) == ("a-model", 7, 9, ["END"])
        assert body["stream"] is True
        assert body["stream_options"]["include_usage"] is True
    assert (llama["top_k"], llama["min_p"], llama["repeat_penalty"]) == (0, 0.0, 1.0), "else its own defaults hold"
    assert llama["timings_per_token"] is True
    assert "min_p" not in vllm
    assert (sglang["top_k"], sglang["return_spec_tokens_details"]) == (-1, True)
    assert own["mode"] == "adaptive"
    assert not {"top_k", "min_p", "repetition_penalty"} & set(other)


def test_continuing_where_the_server_can() -> None:
    cut = (Message.of("user", "Tell me"), Message.of("assistant", "The sky is"))
    request = GenerationRequest(messages=cut, continue_final=True)
    assert asked("llamacpp", request)["messages"][-1] == {"role": "assistant", "content": "The sky is"}
    for owner in ("vllm", "sglang"):
        body = asked(owner, request)
        assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    with pytest.raises(EngineError, match="cannot continue an answer: press Retry"):
        asked("somebody", request)


def test_reasoning_of_earlier_answers_is_not_sent_again() -> None:
    turns = (
        Message.of("user", "one"),
        Message.of("assistant", "<think>\nlong\n</think>\n\nYes."),
        Message.of("user", "<think>not mine</think>two"),
    )
    body = asked("vllm", GenerationRequest(messages=turns, thinking=False))
    assert [each["content"] for each in body["messages"]] == ["one", "Yes.", "<think>not mine</think>two"]
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_server_without_streams_answers_whole() -> None:
    whole = {
        "choices": [{"message": {"content": "one two"}, "finish_reason": "stop"}],
        "usage": {"completion_tokens": 2},
    }
    with running(FakeServer(answers=(JSONResponse(whole),))) as url:
        finished = answered(loaded(url))
    assert (finished.text, finished.stats.num_tokens) == ("one two", 2)


# What is found out


def test_models_are_listed_and_chosen_by_name() -> None:
    with running(FakeServer(models=("maker/first", "second"))) as url:
        info = loaded(url).info
        assert info is not None
        assert info.server is not None
        assert (info.name, info.server.models) == ("first", ("maker/first", "second"))
        assert "offers 2 models" in info.notes[0]
        second = loaded(f"{url}#second").info
        assert second is not None
        assert (second.name, second.path, second.notes) == ("second", f"{url}#second", ())
        with pytest.raises(ModelNotFound, match="has no model 'third': it offers maker/first, second"):
            loaded(f"{url}#third")
    with running(FakeServer(models=())) as url, pytest.raises(ModelNotFound, match="no model yet"):
        loaded(url)
    with running(FakeServer(says={"/v1/models": Response("page")})) as url:
        with pytest.raises(ServerUnavailable, match="lists no models"):
            loaded(url)
        assert loaded(f"{url}#named").info is not None
    off = JSONResponse({"error": {"message": "The API is off.", "code": "api_off"}}, 404)
    with (
        running(FakeServer(says={"/v1/models": off})) as url,
        pytest.raises(ServerUnavailable, match="is a Slipstream whose API is off: switch it on"),
    ):
        loaded(url)


@pytest.mark.parametrize(
    ("says", "kind", "speculation"),
    [
        ({"/props": {"default_generation_settings": {}}, "/slots": [{"speculative": False}]}, "llama-server", "off"),
        ({"/props": {"default_generation_settings": {}}}, "llama-server", "unknown"),
        ({"/server_info": {"speculative_algorithm": None}}, "SGLang", "off"),
        ({"/server_info": {"speculative_algorithm": "EAGLE"}}, "SGLang", "on"),
        ({"/metrics": "vllm:x 1\n"}, "vLLM", "off"),
        ({"/metrics": 'vllm:spec_decode_num_drafts_total{engine="0"} 0.0\n'}, "vLLM", "on"),
        ({}, "OpenAI-compatible", "unknown"),
    ],
)
def test_the_kind_is_recognised_behind_another_name(says: dict[str, Any], kind: str, speculation: str) -> None:
    with running(FakeServer(says=says)) as url:
        info = loaded(url).info
    assert info is not None
    assert info.server is not None
    assert (info.server.kind, info.server.speculation) == (kind, speculation)


def test_llama_server_tells_how_it_drafts_once_it_has_answered() -> None:
    slots: list[dict[str, Any]] = [{"speculative": True}]
    server = FakeServer(owner="llamacpp", says={"/slots": slots})
    with running(server) as url:
        engine = loaded(url)
        assert engine.info is not None
        assert engine.info.server is not None
        assert engine.info.server.method == ""
        slots[0]["params"] = {"speculative.types": "ngram-simple"}
        answered(engine)
        assert engine.info.server.method == "ngram-simple"
        slots[:] = [{"speculative": False}]
        answered(engine)
        assert engine.info.server.speculation == "off", "it was started anew, without drafts"


# Beside the engine on this machine


def test_a_server_and_the_engine_here_take_turns() -> None:
    local = ScriptedEngine()
    with running(FakeServer(answers=((event(delta("from there")), event(end()), DONE),))) as url:
        engine = EitherEngine(local, RemoteEngine(Trusts(), SOON))
        list(engine.load(ModelSpec(model="starter")))
        assert engine.compares is local
        list(engine.load(ModelSpec(model=url)))
        assert local.info is None, "its memory is given back"
        assert (engine.compares, engine.memory, engine.process, engine.background) == (None, None, None, None)
        last = list(engine.generate(REQUEST))[-1]
        assert isinstance(last, Finished)
        assert last.text == "from there"
        with pytest.raises(EngineError):
            list(engine.load(ModelSpec(model="http://127.0.0.1:9")))
        assert engine.info is not None, "the server before it is still there"
        steps: list[LoadProgress] = list(engine.load(ModelSpec(model="starter")))
        assert steps[-1].stage == "ready"
        assert engine.info is local.info
        assert engine.compares is local
        with pytest.raises(EngineError):
            list(engine.load(ModelSpec(model=f"{url}#no-such-model")))
        assert engine.info is local.info is not None, "the model here is not given back for a server that is none"
    engine.close()
    assert local.closed
