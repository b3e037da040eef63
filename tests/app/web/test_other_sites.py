"""Pages of other sites: the API answers those whose origin was named, with the key, and the page answers none."""

from collections.abc import Iterator

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from starlette.testclient import TestClient

from app.api.routes import is_api
from app.web import server

URL, NAMED, OTHER = "http://127.0.0.1:7860", "https://app.example.org", "https://evil.example"


def shared() -> APIRouter:
    router = APIRouter()

    @router.get("/v1/models")
    @router.get("/export/all.json")
    def answer() -> PlainTextResponse:
        return PlainTextResponse("an answer")

    return router


def client_for(*origins: str) -> TestClient:
    return TestClient(server.create_app(FastAPI, [shared()], origins=origins, is_keyed=is_api), base_url=URL)


@pytest.fixture
def client() -> Iterator[TestClient]:
    with client_for(NAMED) as client:
        yield client


def sent_by(origin: str) -> dict[str, str]:
    return {"Origin": origin, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}


ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


def test_a_named_origin_may_ask_and_read(client: TestClient) -> None:
    asked = client.options("/v1/chat/completions", headers=sent_by(NAMED) | ASKS)
    assert asked.status_code == 204
    assert asked.headers["Access-Control-Allow-Origin"] == NAMED
    assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in asked.headers
    answer = client.get("/v1/models", headers=sent_by(NAMED))
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, NAMED)
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("origin", [OTHER, "null", "*", f"{NAMED}.evil.example", NAMED.replace("https", "http")])
def test_another_origin_is_refused(client: TestClient, origin: str) -> None:
    for answer in (
        client.options("/v1/models", headers=sent_by(origin) | ASKS),
        client.get("/v1/models", headers=sent_by(origin)),
    ):
        assert answer.status_code == 403
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_page_and_its_files_stay_its_own(client: TestClient) -> None:
    for path in ("/export/all.json", "/", "/v10"):
        answer = client.get(path, headers=sent_by(NAMED))
        assert answer.status_code == 403
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_named_origin_opens_no_other_name(client: TestClient) -> None:
    """DNS rebinding: the name in the request must still be this machine's."""
    assert client.get("/v1/models", headers=sent_by(NAMED) | {"Host": "evil.example"}).status_code == 400


def test_none_is_named_by_default() -> None:
    with client_for() as client:
        assert client.get("/v1/models", headers=sent_by(NAMED)).status_code == 403
        assert "Vary" not in client.get("/v1/models").headers
