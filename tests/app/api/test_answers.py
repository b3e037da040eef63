"""What the API answers, over a scripted engine: shapes, figures, options, errors."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from app.api import routes
from app.api.answers import Answers, Scored, Step
from app.api.limits import BODY_BYTES
from app.api.requests import read_chat
from app.chat.queue import Asker, Queue, Waiting
from engine.config import Message, Sampling
from engine.errors import ContextOverflow, EngineError
from engine.events import TextDelta
from tests.api import Api, question
from tests.scripted import loaded_engine
from tests.scripted_answer import split_tokens, token_id
from tests.turns import ANSWER

CHAT = "/v1/chat/completions"
IDS = [token_id(piece) for piece in split_tokens(ANSWER)]


def events(text: str) -> list[dict[str, Any]]:
    """The chunks of a stream, which ends as such streams do."""
    *chunks, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]


def test_texts_that_came_together_are_one_chunk() -> None:
    """The engine's process is read in bursts: a chunk for each token would cost more than it says."""

    async def taken(*steps: Step | Exception) -> list[Step | None]:
        engine, queue = loaded_engine(), Queue()
        waiting = queue.join(Asker(kind="page", name="1"))
        answer = Answers(engine, queue).begin(read_chat(question()), "127.0.0.1", "me")
        for step in steps:
            answer._put(step)
        await asyncio.sleep(0.01)
        found = []
        try:
            while len(found) < 10:
                found.append(await answer.next(0.01))
        except EngineError:
            answer.cancel()
            with waiting:
                return [step for step in found if not isinstance(step, Waiting)]
        raise AssertionError("the failure was lost")

    one, two, three = (TextDelta(text=text) for text in ("one", " two", " three"))
    between = Scored(likelihoods=())
    found = asyncio.run(taken(one, two, between, three, EngineError("The device is gone.")))
    assert [step for step in found if step] == [TextDelta(text="one two"), between, three]


@pytest.mark.parametrize("path", [CHAT, "/chat/completions"])
def test_a_chat_is_answered_in_one_piece(client: TestClient, path: str) -> None:
    answer = client.post(path, json=question(return_token_ids=True)).json()
    assert (answer["object"], answer["model"]) == ("chat.completion", "starter")
    assert answer["id"].startswith("chatcmpl-")
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": ANSWER, "refusal": None}
    assert (choice["index"], choice["finish_reason"], choice["token_ids"]) == (0, "stop", IDS)
    usage = answer["usage"]
    assert usage["completion_tokens"] == 12
    assert usage["total_tokens"] == usage["prompt_tokens"] + 12


def test_the_figures_of_drafting_have_the_names_that_clients_read(client: TestClient) -> None:
    answer = client.post(CHAT, json=question()).json()
    drafted, accepted = answer["timings"]["draft_n"], answer["timings"]["draft_n_accepted"]
    assert drafted >= accepted > 0
    assert answer["timings"]["predicted_n"] == 12
    metrics = answer["metrics"]["speculative_decoding"]
    assert (metrics["num_draft_tokens"], metrics["num_accepted_draft_tokens"]) == (drafted, accepted)
    assert metrics["draft_acceptance_rate"] == accepted / drafted
    assert sum(metrics["acceptance_histogram"]) == metrics["num_spec_steps"] > 0
    assert metrics["mean_acceptance_length"] == 1 + accepted / metrics["num_spec_steps"]
    ours = answer["slipstream"]
    assert ours["tokens_per_round"] == 12 / ours["rounds"]
    assert ours["certificate"]["tier"] == "B"


def test_without_drafts_there_are_no_figures_of_drafts(client: TestClient) -> None:
    answer = client.post(CHAT, json=question(mode="plain")).json()
    assert "draft_n" not in answer["timings"]
    assert answer["metrics"]["speculative_decoding"] is None
    assert answer["slipstream"]["tokens_per_round"] == 1


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_is_the_same_answer_in_pieces(client: TestClient, include_usage: bool) -> None:
    body = question(stream=True, return_token_ids=True)
    if include_usage:
        body["stream_options"] = {"include_usage": True}
    answer = client.post(CHAT, json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    chunks = events(answer.text)
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    said = [chunk for chunk in chunks if chunk["choices"]]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in said) == ANSWER
    assert [chunk["choices"][0]["finish_reason"] for chunk in said] == [None] * (len(said) - 1) + ["stop"]
    assert (said[-1]["choices"][0]["delta"], said[-1]["choices"][0]["token_ids"]) == ({}, IDS)
    assert chunks[-1]["timings"]["draft_n"] > 0
    assert chunks[-1]["slipstream"]["certificate"]["tier"] == "B"
    if include_usage:
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["completion_tokens"] == 12
        assert all(chunk["usage"] is None for chunk in said)
    else:
        assert not any("usage" in chunk for chunk in chunks)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/completions", "/completions"])
def test_a_text_is_completed_as_it_stands(api: Api, client: TestClient, path: str, stream: bool) -> None:
    answer = client.post(path, json={"prompt": "Once upon", "stream": stream, "max_tokens": 3})
    chunks = events(answer.text) if stream else [answer.json()]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "one two three"
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    (request,) = api.engine.requests
    assert request.messages == (Message.of("user", "Once upon"),)
    assert request.verbatim


def test_what_the_request_says_reaches_the_engine(api: Api, client: TestClient) -> None:
    sampling = Sampling(temperature=0.5, top_p=0.8, top_k=40, min_p=0.1, repetition_penalty=1.1, seed=7)
    fields = {name: getattr(sampling, name) for name in sampling.__dataclass_fields__}
    body = question(**fields, max_completion_tokens=5, max_tokens=9, stop=["seven"], user="me", mode="plain")
    body["chat_template_kwargs"] = {"enable_thinking": False}
    assert client.post(CHAT, json=body).json()["choices"][0]["finish_reason"] == "length"
    (request,) = api.engine.requests
    assert (request.sampling, request.max_tokens, request.stop) == (sampling, 5, ("seven",))
    assert (request.mode, request.thinking) == ("plain", False)
    assert (request.conversation, request.memory) == (None, False)


def test_what_it_leaves_open_is_what_the_model_recommends(api: Api, client: TestClient) -> None:
    answers = [client.post(CHAT, json=question(**said)).json() for said in ({}, {"temperature": 0}, {"seed": -1})]
    first, greedy, random = (request.sampling for request in api.engine.requests)
    assert (first.temperature, first.top_p) == (random.temperature, random.top_p) == (0.7, 0.9)
    assert (greedy.temperature, greedy.seed) == (0, 0)
    assert first.seed != random.seed
    assert [answer["slipstream"]["seed"] for answer in answers] == [first.seed, 0, random.seed]
    assert api.engine.requests[0].max_tokens == 2048  # what the context holds


def test_roles_and_parts_become_messages(api: Api, client: TestClient) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two\x07"}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts, "name": "me"},
        {"role": "assistant", "content": "It be"},
    ]
    assert client.post(CHAT, json={"messages": messages}).status_code == 200
    (request,) = api.engine.requests
    assert request.messages == (
        Message.of("system", "Be brief."),
        Message.of("user", "one\ntwo"),
        Message.of("assistant", "It be"),
    )
    assert request.continue_final


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_stand_beside_their_tokens(client: TestClient, stream: bool) -> None:
    answer = client.post(CHAT, json=question(logprobs=True, top_logprobs=2, stream=stream))
    chunks = events(answer.text) if stream else [answer.json()]
    content = [each for chunk in chunks for each in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert "".join(each["token"] for each in content) == ANSWER
    assert content[1]["logprob"] == -len(" two")
    assert bytes(content[1]["bytes"]) == b" two"
    assert [other["token"] for other in content[1]["top_logprobs"]] == ["a", "an"]
    body = {"prompt": "Once upon", "logprobs": 1, "max_tokens": 2, "stream": stream}
    answer = client.post("/v1/completions", json=body)
    chunks = events(answer.text) if stream else [answer.json()]
    found = [chunk["choices"][0]["logprobs"] for chunk in chunks if chunk["choices"][0]["logprobs"]]
    assert [token for each in found for token in each["tokens"]] == ["one", " two"]
    assert [top for each in found for top in each["top_logprobs"]] == [{"a": -1.0}, {"a": -1.0}]


def test_a_stop_string_ends_the_answer(client: TestClient) -> None:
    answer = client.post(CHAT, json=question(stop="six")).json()
    assert answer["choices"][0]["message"]["content"] == "one two three four five "
    assert (answer["choices"][0]["finish_reason"], answer["slipstream"]["stop_reason"]) == ("stop", "stop")


def test_tools_are_offered_in_vain_and_fields_that_nobody_knows_are_ignored(client: TestClient) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    fields = {"tools": tools, "tool_choice": "auto", "parallel_tool_calls": True, "metadata": {"a": 1}, "n": 1}
    (choice,) = client.post(CHAT, json=question(**fields)).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (ANSWER, "stop")
    assert "tool_calls" not in choice["message"]


TOOL_TURN = [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "1", "content": "y"}]
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]


@pytest.mark.parametrize(
    ("fields", "param", "sentence"),
    [
        ({"messages": []}, "messages", "messages must be a list"),
        ({"messages": TOOL_TURN}, "messages[1]", "belongs to a tool"),
        ({"messages": IMAGE}, "messages[0].content", "part of type text"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "messages[0]", "must have a content and a role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "must be a text or a list of parts"),
        ({"messages": [{"role": "user", "content": " "}]}, None, "The message is empty"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content", "not valid Unicode"),
        ({"tool_choice": "required"}, "tool_choice", "calls no tools"),
        ({"logprobs": 3}, "logprobs", "logprobs must be true or false"),
        ({"top_logprobs": 3}, "top_logprobs", "top_logprobs needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "must be between 0 and 20"),
        ({"n": 2}, "n", "one answer is made"),
        ({"presence_penalty": 1.5}, "presence_penalty", "use repetition_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format", "answers follow no schema"),
        ({"temperature": "hot"}, None, "temperature must be a number"),
        ({"top_p": 2}, None, "top_p must be between 0 and 1"),
        ({"max_tokens": 0}, None, "max_tokens must be between 1"),
        ({"max_tokens": 1.5}, None, "max_tokens must be a whole number"),
        ({"stop": ["", 3]}, "stop", "stop must be a text"),
        ({"stream": "yes"}, "stream", "stream must be true or false"),
        ({"mode": "wild"}, None, "mode must be one of adaptive, plain"),
    ],
)
def test_what_cannot_be_heeded_is_refused_in_a_sentence(
    api: Api, client: TestClient, fields: dict[str, Any], param: str | None, sentence: str
) -> None:
    answer = client.post(CHAT, content=json.dumps(question(**fields)))
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert sentence in error["message"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert api.engine.requests == []
    assert api.queue.serving is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"messages": 1' + b"0" * 5000 + b"}"])
def test_a_body_that_is_no_request_is_a_sentence(client: TestClient, body: bytes) -> None:
    answer = client.post(CHAT, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(client: TestClient) -> None:
    whole = b'{"messages": "' + b"x" * BODY_BYTES + b'"}'
    said = client.post(CHAT, content=whole)
    unsaid = client.post(CHAT, content=(whole[start : start + 100_000] for start in range(0, len(whole), 100_000)))
    for answer in (said, unsaid):
        assert answer.status_code == 413
        assert "larger than 4 MiB" in answer.json()["error"]["message"]


def test_a_client_that_sends_too_much_reads_why(real_client: httpx2.Client) -> None:
    """A connection that is closed while the client still sends would be lost without a word."""
    answer = real_client.post(CHAT, content=b"x" * (3 * BODY_BYTES))
    assert answer.status_code == 413
    assert "larger than 4 MiB" in answer.json()["error"]["message"]


def test_models_are_listed_and_another_one_is_refused(api: Api, client: TestClient) -> None:
    for path in ("/v1/models", "/models"):
        (model,) = client.get(path).json()["data"]
        assert (model["id"], model["object"], model["owned_by"]) == ("starter", "model", "slipstream")
    assert client.get("/v1/models/starter").json()["max_model_len"] == 2048
    for answer in (client.get("/v1/models/gpt-5"), client.post(CHAT, json=question(model="gpt-5"))):
        assert answer.status_code == 404
        assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == ("model_not_found", "model")
    api.aliases = ("Qwen/Qwen3-0.6B",)
    for name in ("Qwen/Qwen3-0.6B", "starter"):
        assert client.post(CHAT, json=question(model=name)).json()["model"] == "Qwen/Qwen3-0.6B"
        assert client.get(f"/v1/models/{name}").json()["id"] == "Qwen/Qwen3-0.6B"
    assert client.post(CHAT, json=question(model="")).status_code == 200


def test_while_a_model_is_loaded_the_list_says_so(api: Api, client: TestClient) -> None:
    """An empty list would tell another Slipstream that there is nothing to wait for."""
    api.engine.unload()
    assert client.get("/v1/models").json()["data"] == []
    api.loading = True
    answer = client.get("/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_ready")
    assert "loading its model" in answer.json()["error"]["message"]
    assert answer.headers["Retry-After"]


def test_without_a_model_clients_are_told_to_come_again(api: Api, client: TestClient) -> None:
    api.engine.unload()
    answer = client.post(CHAT, json=question())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert client.get("/v1/models").json()["data"] == []


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/v1", "/v1/embeddings", "/v1/completions/x", "/completions/x", "/chat/completions/"])
def test_a_path_that_is_not_served_is_told_as_an_error(client: TestClient, path: str, method: str) -> None:
    answer = client.request(method, path, follow_redirects=False)
    assert answer.status_code == 404
    assert "/v1/chat/completions" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1", "/v1/models", "/v1/models/x", "/models/x", "/models", "/completions"])
def test_the_api_answers_a_head_too_and_asks_for_its_key(client: TestClient, path: str) -> None:
    assert client.head(path).status_code == 404
    assert client.head(path, headers={"Authorization": ""}).status_code == 401


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/completions"])
def test_a_path_that_is_only_posted_to_is_told_as_an_error(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert f"GET {path} is not served" in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ContextOverflow("The last message is too long."), 400, "context_length_exceeded"),
        (EngineError("The model's output is not a number."), 500, "EngineError"),
        (ZeroDivisionError("secret"), 500, "internal_error"),
    ],
)
def test_what_fails_before_the_first_word_has_a_status(
    api: Api, client: TestClient, error: Exception, status: int, code: str, stream: bool
) -> None:
    api.engine.fail_after, api.engine.error = 0, error
    answer = client.post(CHAT, json=question(stream=stream))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "secret" not in answer.text


def test_what_fails_later_is_an_event_of_the_stream(api: Api, client: TestClient) -> None:
    api.engine.fail_after, api.engine.error = 6, EngineError("The device is gone.")
    *chunks, last, rest = client.post(CHAT, json=question(stream=True)).text.split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["message"] == "The device is gone."
    assert '"content": "one' in "".join(chunks)
    assert rest == ""


def test_a_silent_stream_is_kept_open_by_comments(
    api: Api, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "HEADERS_AFTER_S", 0.05)
    monkeypatch.setattr(routes, "PING_S", 0.05)
    api.engine.delay_s = 0.3
    text = client.post(CHAT, json=question(stream=True)).text
    assert ": reading the prompt\n\n" in text
    spoken = "\n\n".join(block for block in text.split("\n\n") if not block.startswith(":"))
    assert len(events(spoken)) > 3
