"""Recorded streams of servers, in the shapes of their sources, with what breaks simple readers."""

import json
from typing import Any

import pytest

from engine.config import GenerationRequest, Message, ModelSpec
from engine.errors import EngineError, ServerLost
from engine.events import Event, Finished, ServerProgress, TextDelta
from engine.metrics import Speculation
from engine.remote import talk
from engine.remote.engine import RemoteEngine
from tests.remote_server import DONE, METRICS, SOON, FakeServer, Step, Trusts, cut, delta, end, event, for_ever, running

REQUEST = GenerationRequest(messages=(Message.of("user", "a question"),))
PROPS = {"default_generation_settings": {"params": {"temperature": 0.8, "top_k": 40}, "n_ctx": 2048}}


def timings(predicted: int, **drafts: int) -> dict[str, Any]:
    return {"timings": {"cache_n": 3, "prompt_n": 6, "prompt_ms": 2.5, "predicted_n": predicted, **drafts}}


LLAMA = (
    event({"choices": [{"finish_reason": None, "index": 0, "delta": {"role": "assistant", "content": None}}]}),
    event(delta("one", **timings(1))),
    event(delta(" two three", **timings(3, draft_n=4, draft_n_accepted=1))),
    event(end()),
    event(
        {
            "choices": [],
            "usage": {"completion_tokens": 4, "prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3}},
            **timings(4, draft_n=12, draft_n_accepted=5),
        }
    ),
    DONE,
)
VLLM_FIGURES = {
    "mean_acceptance_length": 2.25,
    "draft_acceptance_rate": 0.3125,
    "acceptance_histogram": [1, 2, 1, 0, 0],
    "num_spec_steps": 4,
    "num_accepted_draft_tokens": 5,
    "num_draft_tokens": 16,
    "num_spec_tokens": 4,
}
VLLM = (
    event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "usage": {"prompt_tokens": 9}}),
    event({"choices": [{"index": 0, "delta": {"reasoning": "so"}}], "usage": {"completion_tokens": 1}}),
    event({"choices": [{"index": 0, "delta": {"reasoning": " it is"}}], "usage": {"completion_tokens": 3}}),
    event({"choices": [{"index": 0, "delta": {"content": "yes"}}], "usage": {"completion_tokens": 6}}),
    event({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop", "stop_reason": "END"}]}),
    event(
        {
            "choices": [],
            "usage": {"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17},
            "metrics": {"speculative_decoding": VLLM_FIGURES},
        }
    ),
    DONE,
)
SGLANG_FIGURES = {
    "spec_accept_rate": 0.5,
    "spec_accept_length": 3.2,
    "spec_num_correct_drafts": 11,
    "spec_num_proposed_drafts": 22,
    "spec_verify_ct": 5,
    "spec_correct_drafts_histogram": [0, 2, 3],
}
SGLANG = (
    event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": "", "reasoning_content": None}}]}),
    event(delta("a", usage={"prompt_tokens": 9, "completion_tokens": 1})),
    event(delta(" b", usage={"prompt_tokens": 9, "completion_tokens": 16})),
    event(end("length", matched_stop=None)),
    event({"choices": [], "sglext": {"spec_tokens_details": SGLANG_FIGURES}}),
    event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 16, "total_tokens": 25}}),
    DONE,
)


def ask(server: FakeServer, request: GenerationRequest = REQUEST) -> list[Event]:
    with running(server) as url:
        engine = RemoteEngine(Trusts(), SOON)
        list(engine.load(ModelSpec(model=url)))
        return list(engine.generate(request))


def answer(*steps: Step, **server: Any) -> Finished:
    last = ask(FakeServer(answers=(steps,), **server))[-1]
    assert isinstance(last, Finished)
    return last


def test_the_figures_of_llama_server_are_its_own() -> None:
    counts = iter(((7, 100, 50), (9, 112, 55)))
    slots = [{"id": 0, "speculative": True, "params": {"speculative.types": "ngram-mod"}}, {"speculative": True}]
    first = METRICS.format(prefix="llamacpp", drafts=0, drafted=0, accepted=0)

    def metrics() -> str:
        drafts, drafted, accepted = next(counts)
        return METRICS.format(prefix="llamacpp", drafts=drafts, drafted=drafted, accepted=accepted)

    says = {"/props": PROPS, "/slots": slots, "/metrics": first}
    server = FakeServer(owner="llamacpp", says=says, answers=(LLAMA,))
    with running(server) as url:
        engine = RemoteEngine(Trusts(), SOON)
        list(engine.load(ModelSpec(model=url)))
        assert engine.info is not None
        assert engine.info.server is not None
        assert engine.info.context_length == 2048
        assert engine.info.default_sampling.top_k == 40
        assert (engine.info.server.speculation, engine.info.server.method) == ("on", "ngram-mod")
        server.says["/metrics"] = metrics
        events = list(engine.generate(REQUEST))
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (finished.text, finished.stop_reason, finished.token_ids) == ("one two three", "eos", ())
    stats = finished.stats
    assert (stats.num_prompt_tokens, stats.num_reused_tokens, stats.num_tokens, stats.num_committed) == (9, 3, 4, 3)
    assert stats.served is not None
    assert stats.served.answer == Speculation(drafted=12, accepted=5)
    assert stats.served.meanwhile == Speculation(drafted=12, accepted=5, num_drafts=2, mean_length=3.5)
    counted = [each.num_tokens for each in events if isinstance(each, ServerProgress)]
    assert counted == sorted(counted), "the count never falls"
    assert "".join(each.text for each in events if isinstance(each, TextDelta)) == finished.text


def test_llama_server_leaves_out_what_it_did_not_draft() -> None:
    says = {"/props": PROPS, "/slots": [{"speculative": True}]}
    finished = answer(event(delta("x", **timings(1))), event(end()), DONE, owner="llamacpp", says=says)
    assert finished.stats.served is not None
    assert finished.stats.served.answer == Speculation(drafted=0, accepted=0)


def test_the_figures_of_vllm_and_its_reasoning() -> None:
    finished = answer(*VLLM, owner="vllm", says={"/metrics": "vllm:num_requests_running 0\n"})
    assert finished.text == "<think>\nso it is\n</think>\n\nyes"
    assert (finished.stop_reason, finished.stats.num_tokens) == ("stop", 8)
    assert finished.stats.served is not None
    assert finished.stats.served.answer == Speculation(drafted=16, accepted=5, num_drafts=4, mean_length=2.25)


def thought(text: str) -> Step:
    return event({"choices": [{"index": 0, "delta": {"reasoning_content": text}}]})


@pytest.mark.parametrize(
    ("before", "steps", "added"),
    [
        ("<think>\nso", (thought(" it is"), event(delta("Yes."))), " it is\n</think>\n\nYes."),
        ("<think>\nso", (thought(" it is"),), " it is"),
        ("<think>\nso", (event(delta(" it is\n</think>\n\nYes.")),), " it is\n</think>\n\nYes."),
        ("<think>\nso\n</think>\n\nYes", (event(delta(", it is.")),), ", it is."),
        ("Yes", (thought("so"), event(delta("."))), "<think>\nso\n</think>\n\n."),
    ],
)
def test_an_answer_that_was_cut_short_in_its_reasoning_goes_on_in_it(
    before: str, steps: tuple[Step, ...], added: str
) -> None:
    """Servers that do not tell reasoning apart write the end of it themselves."""
    cut_short = (*REQUEST.messages, Message.of("assistant", before))
    request = GenerationRequest(messages=cut_short, continue_final=True)
    events = ask(FakeServer(owner="vllm", answers=((*steps, event(end()), DONE),)), request)
    assert isinstance(events[-1], Finished)
    assert events[-1].text == added


def test_the_figures_of_sglang() -> None:
    finished = answer(*SGLANG, owner="sglang", says={"/server_info": {"speculative_algorithm": "NGRAM"}})
    assert (finished.text, finished.stop_reason, finished.stats.num_tokens) == ("a b", "length", 16)
    assert finished.stats.served is not None
    assert finished.stats.served.answer == Speculation(drafted=22, accepted=11, num_drafts=5, mean_length=3.2)


def test_sglang_without_figures_of_an_answer_tells_those_of_all() -> None:
    passes = iter((3, 3, 8))  # asked while it is recognised, before the answer, behind it
    counts = "sglang:num_running_reqs 1\nsglang:spec_verify_calls_total {0}\nsglang:generation_tokens_total {0}0\n"
    says = {
        "/server_info": {"speculative_algorithm": "NGRAM"},
        "/metrics": lambda: counts.format(next(passes)),
    }
    plain = [step for step in SGLANG if b"sglext" not in step]
    served = answer(*plain, owner="sglang", says=says).stats.served
    assert served is not None
    assert (served.answer, served.meanwhile) == (None, Speculation(num_drafts=5, mean_length=10.0))


TRAPS: dict[str, tuple[Step, ...]] = {
    "comments": (b": ping\n\n", event(delta("one")), b":\n\n: ping\n", event(delta(" two")), event(end()), DONE),
    "empty events": (b"id: 1\n\n", b"data:\n\n", event(delta("one two")), b"retry: 10\n\n", event(end()), DONE),
    "no choices": (
        event({"choices": []}),
        event({"choices": None, "usage": None}),
        event({"id": "x"}),
        event({"choices": [{"index": 0, "delta": None}]}),
        event(delta("one two")),
        event(end()),
        DONE,
    ),
    "an end without [DONE]": (event(delta("one two")), event(end())),
    "[DONE] without a reason": (event(delta("one two")), DONE),
    "no empty line at the end": (
        event(delta("one")),
        event(delta(" two")),
        b'data: {"choices": [{"finish_reason": "stop"}]}',
    ),
    "pieces of characters": tuple(bytes([byte]) for byte in event(delta("one two")) + event(end()) + DONE),
    "carriage returns": (event(delta("one two")).replace(b"\n", b"\r\n"), event(end()).replace(b"\n", b"\r"), DONE),
    "two lines of data": (
        b'data: {"choices":\ndata: [{"delta": {"content": "one two"}, "finish_reason": "stop"}]}\n\n',
    ),
    "other choices": (
        event({"choices": [{"index": 1, "delta": {"content": "no"}}]}),
        event(delta("one two")),
        event(end()),
        DONE,
    ),
    "content as parts": (
        event({"choices": [{"delta": {"content": [{"type": "text", "text": "one two"}]}}]}),
        event(end()),
        DONE,
    ),
    "parts that are no text": (
        event({"choices": [{"delta": {"content": [{"text": 5}, {"text": "one two"}, {"text": ["x"]}, 7]}}]}),
        event(end()),
        DONE,
    ),
    "figures that cannot be": (
        event(delta("one two", metrics={"speculative_decoding": {"mean_acceptance_length": 10**400}})),
        event(delta("", usage={"completion_tokens": 10**400}, timings={"draft_n": 2**53 + 1})),
        event(end()),
        DONE,
    ),
    "tool calls": (
        event(delta("one two")),
        event({"choices": [{"delta": {"tool_calls": []}}]}),
        event(end("tool_calls")),
        DONE,
    ),
    "another event": (b"event: ping\ndata: {}\n\n", event(delta("one two")), event(end()), DONE),
}


@pytest.mark.parametrize("name", TRAPS)
def test_what_breaks_simple_readers(name: str) -> None:
    assert answer(*TRAPS[name]).text == "one two"


@pytest.mark.parametrize("text", ["a\u2028b\u2029c\x85d", "\U0001f600 é", "\\u0000 is text"])
def test_text_is_as_it_was_said(text: str) -> None:
    raw = json.dumps(delta(text), ensure_ascii=False).encode()
    assert answer(b"data: " + raw + b"\n\n", event(end()), DONE).text == text


def test_halves_of_characters_never_reach_the_store() -> None:
    raw = b'data: {"choices": [{"delta": {"content": "\\ud83d\\ude00 \\ud83d"}}]}\n\n'
    assert answer(raw, event(end()), DONE).text == "\U0001f600 \ufffd"


FAILURES = {
    "nested": event({"error": {"message": "out of memory", "type": "server_error", "code": 500}}),
    "flat": event({"object": "error", "message": "out of memory", "type": "x", "param": None, "code": 500}),
    "as text": event({"error": "out of memory"}),
    "an event": b'event: error\ndata: {"error": {"message": "out of memory"}}\n\n',
    "a line": b'error: {"code": 500, "message": "out of memory", "type": "server_error"}\n\n',
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("after", [(), (event(delta("one")),)])
def test_a_failure_in_the_stream_is_told(name: str, after: tuple[bytes, ...]) -> None:
    with pytest.raises(EngineError, match="The server gave up: out of memory"):
        answer(*after, FAILURES[name])


@pytest.mark.parametrize("last", [b"", b'data: {"choices": [{"del', b"data: no JSON\n\n"])
def test_a_stream_that_breaks_off_is_a_lost_connection(last: bytes) -> None:
    with pytest.raises(ServerLost, match="the answer so far is kept"):
        answer(event(delta("one")), last)


def test_an_answer_without_an_end_is_ended_here() -> None:
    many = event(delta("x" * 900_000))
    with pytest.raises(EngineError, match=r"longer than 2,000,000 characters.*The answer so far is kept"):
        answer(many, many, many, for_ever)


def test_an_event_without_an_end_is_ended_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for once: another try would read as much again."""
    monkeypatch.setattr(talk, "EVENT_LIMIT", 1000)
    server = FakeServer(answers=((b"data: " + b"x" * 5000, for_ever),))
    with pytest.raises(ServerLost, match="brought what is no answer in the middle: no word came"):
        ask(server)
    assert len(server.asked) == 1


def test_a_connection_that_is_cut_is_lost() -> None:
    with pytest.raises(ServerLost, match="the answer so far is kept"):
        answer(event(delta("one")), cut)


def test_a_connection_that_is_cut_behind_the_end_costs_figures_alone() -> None:
    assert answer(event(delta("one")), event(end()), cut).text == "one"


def test_why_it_is_not_the_openai_client() -> None:
    """Its decoder takes an event that is empty behind an id for JSON."""
    openai = pytest.importorskip("openai")
    with running(FakeServer(answers=(TRAPS["empty events"],))) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)
        stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
        with pytest.raises(ValueError, match="Expecting value"):
            list(stream)
