"""How fast a page is sent updates: never faster than it draws them, and slowly to one that says nothing."""

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.page import pace
from app.page.pace import Pacer
from app.web.signals import drawn_route


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("shared", "waits"),
    [(False, ((0.01, 0.07), (0.1, 0.3), (0.9, 1.1))), (True, ((0.005, 0.075), (0.01, 0.11), (0.1, 1.1), (0.9, 1.1)))],
)
def test_the_next_update_waits_in_proportion_to_what_one_took(
    clock: list[float], shared: bool, waits: tuple[tuple[float, float], ...]
) -> None:
    pacer = Pacer()
    page = pacer.begin(7, shared=shared)
    for took, rest in waits:
        ticket, number = page.next()
        clock[0] += took
        pacer.note(ticket, number)
        assert page.drawn()
        assert page.rest_s() == pytest.approx(rest)
        clock[0] += rest


def test_an_update_that_is_not_drawn_is_waited_for_and_then_given_up(clock: list[float]) -> None:
    pacer = Pacer()
    page = pacer.begin(7)
    page.next()
    assert not page.drawn()
    pacer.note(8, 1)  # another page's
    assert not page.drawn()
    clock[0] += pace.PATIENCE_S + 0.01
    assert page.drawn()
    assert page.rest_s() > 0


def test_what_nobody_waits_for_is_forgotten() -> None:
    pacer = Pacer()
    pacer.note(3, 1)
    page = pacer.begin(3)
    page.next()
    assert not page.drawn()
    pacer.end(3)
    assert page.drawn()  # and never waits again


@pytest.mark.parametrize("body", ["", "7", "7 x", "-1 2", "7 1 2", "9" * 100, "٣ ٤"])
def test_a_page_names_an_update_with_two_numbers(body: str) -> None:
    app = FastAPI()
    pacer = Pacer()
    app.include_router(drawn_route(pacer.note))
    client = TestClient(app)
    page = pacer.begin(7)
    page.next()
    assert client.post("/drawn", content=body.encode()).status_code == 400
    assert not page.drawn()
    assert client.post("/drawn", content=b"7 1").status_code == 204
    assert page.drawn()
