"""Clients on a real port: many at once, cut connections, keys, limits; a page and another program side by side."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from starlette.testclient import TestClient

from app.api import answers, limits, routes
from app.api.limits import Rate
from app.chat.chat import ChatService
from app.chat.queue import Asker
from app.store.access import PREFIX, ApiAccess
from app.store.records import ConversationSettings
from app.store.store import Store
from tests.api import URL, Api, question
from tests.turns import ANSWER, WAIT_S, finish, wait_until

CHAT = "/v1/chat/completions"


def text_of(answer: httpx2.Response) -> str:
    return str(answer.json()["choices"][0]["message"]["content"])


def test_fifty_at_once_are_answered_in_turn_and_none_is_mixed_up(api: Api, real_client: httpx2.Client) -> None:
    api.engine.answers = (lambda request: f"You said {request.messages[-1].text}.",)
    with ThreadPoolExecutor(50) as pool:
        found = [*pool.map(lambda n: real_client.post(CHAT, json=question(f"number {n}")), range(50))]
    assert [text_of(answer) for answer in found] == [f"You said number {n}." for n in range(50)]
    assert len(api.engine.requests) == 50


def test_more_than_may_wait_are_refused_politely(
    api: Api, real_client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_WAITING", 3)
    with ThreadPoolExecutor(3) as pool, api.queue.join(Asker(kind="page", name="1")):
        waiting = [pool.submit(real_client.post, CHAT, json=question()) for _ in range(3)]
        wait_until(lambda: api.queue.num_waiting == 3)
        refused = real_client.post(CHAT, json=question())
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert [text_of(each.result()) for each in waiting] == [ANSWER] * 3


def test_one_address_takes_a_part_of_the_places_under_whatever_names(
    api: Api, real_client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_OF_ONE", 2)
    with ThreadPoolExecutor(2) as pool, api.queue.join(Asker(kind="page", name="1")):
        waiting = [pool.submit(real_client.post, CHAT, json=question(user=f"{n}")) for n in range(2)]
        wait_until(lambda: api.queue.num_waiting == 2)
        refused = real_client.post(CHAT, json=question(user="another"), headers={"User-Agent": "another"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert [text_of(each.result()) for each in waiting] == [ANSWER] * 2


def test_an_answer_for_which_there_is_no_thread_leaves_no_place_behind(
    api: Api, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def start_others(thread: threading.Thread) -> None:
        if thread.name == "api-answer":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_others)
        refused = client.post(CHAT, json=question())
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert api.queue.serving is None
    assert text_of(client.post(CHAT, json=question())) == ANSWER


@pytest.mark.parametrize("stream", [True, False])
def test_closing_the_connection_cancels_that_answer_and_no_other(api: Api, address: str, stream: bool) -> None:
    api.engine.hold_after = 6
    body = json.dumps(question("the first", stream=stream)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api.key}\r\n"
    host, port = address.removeprefix("http://").split(":")
    first = socket.create_connection((host, int(port)), timeout=WAIT_S)
    first.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    wait_until(lambda: len(api.engine.requests) == 1)
    if stream:
        assert b"200 OK" in first.recv(1000)
    with ThreadPoolExecutor(1) as pool, httpx2.Client(base_url=address, headers=api.headers, timeout=WAIT_S) as other:
        second = pool.submit(other.post, CHAT, json=question("the second"))
        wait_until(lambda: api.queue.num_waiting == 1)
        first.close()
        wait_until(lambda: len(api.engine.requests) == 2)
        api.engine.release()
        assert text_of(second.result()) == ANSWER


def test_a_client_that_waits_can_leave(api: Api, address: str) -> None:
    impatient = httpx2.Client(base_url=address, headers=api.headers, timeout=0.5)
    with api.queue.join(Asker(kind="page", name="1")), impatient as client:
        with pytest.raises(httpx2.ReadTimeout):
            client.post(CHAT, json=question())
        wait_until(lambda: api.queue.num_waiting == 0)
    assert api.engine.requests == []


def test_a_stream_says_how_many_come_first(api: Api, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "HEADERS_AFTER_S", 0.05)
    monkeypatch.setattr(routes, "PING_S", 0.05)
    place = api.queue.join(Asker(kind="page", name="1"))
    patient = httpx2.Client(base_url=address, headers=api.headers, timeout=WAIT_S)
    with patient as client, client.stream("POST", CHAT, json=question(stream=True)) as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": waiting, 1 before this one"
        with place:
            pass
        assert '"finish_reason": "stop"' in "".join(lines)


def test_a_person_is_answered_between_two_requests_of_a_busy_program(api: Api, store: Store, address: str) -> None:
    api.engine.hold_after = 2
    chat = ChatService(api.engine, store, api.queue)
    with httpx2.Client(base_url=address, headers=api.headers, timeout=WAIT_S) as client, ThreadPoolExecutor(3) as pool:
        busy = [pool.submit(client.post, CHAT, json=question("program")) for _ in range(3)]
        wait_until(lambda: api.queue.num_waiting == 2)
        turn = chat.send(store.new_conversation(ConversationSettings()).id, "person")
        api.engine.release()
        finish(turn)
        assert [text_of(each.result()) for each in busy] == [ANSWER] * 3
    said = [request.messages[-1].text for request in api.engine.requests]
    assert said == ["program", "person", "program", "program"]
    assert store.message(turn.message_id).text == ANSWER


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ({}, "This server wants its key"),
        ({"Authorization": "Bearer "}, "This server wants its key"),
        ({"Authorization": f"Bearer {PREFIX}wrong"}, "This is not the key"),
        ({"X-Api-Key": "\xff"}, "This is not the key"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/nothing"])
def test_without_the_key_nothing_is_answered(api: Api, headers: dict[str, str], sentence: str, path: str) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    with TestClient(api.app(), base_url=URL) as client:
        answer = client.get(path, headers=raw)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.json()["error"]["message"].startswith(sentence)


def test_the_key_may_come_in_the_header_of_llama_servers_clients(api: Api) -> None:
    with TestClient(api.app(), base_url=URL) as client:
        assert client.get("/v1/models", headers={"X-Api-Key": api.key}).status_code == 200


def test_trying_keys_is_soon_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "WRONG_KEYS_PER_S", 1e-3)
    with TestClient(api.app(), base_url=URL) as client:
        tried = [client.get("/v1/models", headers={"X-Api-Key": f"{n}"}).status_code for n in range(12)]
        assert tried == [401] * 10 + [429] * 2
        late = client.get("/v1/models", headers={"X-Api-Key": "wrong"})
        assert int(late.headers["retry-after"]) >= 1
        assert client.get("/v1/models", headers=api.headers).status_code == 200  # whoever has the key is not shut out


def test_too_many_requests_are_told_when_to_come_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "REQUESTS_PER_S", 1e-3)
    monkeypatch.setattr(routes, "REQUESTS_AT_ONCE", 3)
    with TestClient(api.app(), base_url=URL, headers=api.headers) as client:
        answers = [client.get("/v1/models") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_a_rate_is_kept_for_each_client_by_itself() -> None:
    now_s = [0.0]
    rate = Rate(per_s=1, burst=2, clock=lambda: now_s[0])
    assert [rate.take("a"), rate.take("a"), rate.take("a"), rate.take("b")] == [0, 0, 1, 0]
    now_s[0] = 1.0
    assert [rate.take("a"), rate.take("a")] == [0, 1]


def test_it_is_off_until_it_is_switched_on(api: Api, store: Store) -> None:
    api.access.switch(False)
    with TestClient(api.app(), base_url=URL, headers=api.headers) as client:
        answer = client.get("/v1/models")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "api_off")
        api.access.switch(True)
        assert client.get("/v1/models").status_code == 200
        second = api.access.new_key()
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {second}"}).status_code == 200


def test_the_key_is_kept_as_a_hash_alone(api: Api, store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    again = ApiAccess(store)
    assert again.switched_on
    assert again.admits(api.key)
    assert not again.admits(api.key[:-1])
    assert not again.admits(None)
    assert api.key.endswith(again.key_end)
    assert api.key not in json.dumps(store.get_setting("api"))
    store.set_setting("api", {"switched_on": "perhaps"})
    damaged = ApiAccess(store)
    assert not damaged.switched_on
    assert not damaged.admits("")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.com"}, 403),
        ({"Host": "rebound.evil.com"}, 400),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_another_site_is_refused_although_it_has_the_key(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    for answer in (client.get("/v1/models", headers=headers), client.post(CHAT, json=question(), headers=headers)):
        assert answer.status_code == status
        assert "access-control-allow-origin" not in answer.headers
    preflight = client.options(CHAT, headers=headers | {"Access-Control-Request-Method": "POST"})
    assert preflight.status_code in (400, 403)


def test_a_body_that_does_not_come_is_refused(api: Api, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_S", 0.1)
    host, port = address.removeprefix("http://").split(":")
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api.key}\r\nContent-Length: 100\r\n\r\n{{"
    )
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as slow:
        slow.sendall(head.encode() + b"Content-Length: 100\r\n\r\n{")
        assert b"408" in slow.recv(1000)
    with httpx2.Client(base_url=address, headers=api.headers) as client:
        assert client.get("/v1/models").status_code == 200
