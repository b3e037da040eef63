"""One line before the engine: order, places, fairness, leaving, and a bound."""

import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.queue import STRIDE, Asker, NoThread, Place, Queue, QueueFull, Waiting
from tests.turns import WAIT_S, wait_until

A, B, C = (Asker(kind="api", name=name) for name in "abc")


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def served(queue: Queue, places: list[Place]) -> list[Place]:
    """The places in the order of their turns."""
    order = []
    while queue.serving is not None:
        (now,) = [place for place in places if place.ahead == 0]
        order.append(now)
        with now:
            assert now.wait()
    return order


def test_askers_are_served_in_the_order_they_came() -> None:
    queue = Queue()
    places = [queue.join(asker) for asker in (A, B, C)]
    assert [place.ahead for place in places] == [0, 1, 2]
    assert queue.serving == A
    assert served(queue, places) == places
    assert [place.ahead for place in places] == [None, None, None]


def test_an_asker_with_many_requests_lets_others_pass() -> None:
    queue = Queue()
    many = [queue.join(A) for _ in range(5)]
    one = queue.join(B)
    few = [queue.join(C) for _ in range(2)]
    order = served(queue, [*many, one, *few])
    assert order == [many[0], one, few[0], many[1], few[1], *many[2:]]


def test_many_names_of_one_address_share_its_turns() -> None:
    queue = Queue()
    many = [queue.join(Asker(kind="api", name=f"{n}", address="10.0.0.5")) for n in range(4)]
    other = queue.join(Asker(kind="api", name="0", address="10.0.0.6"))
    person = queue.join(Asker(kind="page", name="1"))
    assert served(queue, [*many, other, person]) == [many[0], other, person, *many[1:]]


def test_two_programs_of_one_address_let_each_other_pass() -> None:
    queue = Queue()
    busy, calm = (Asker(kind="api", name=name, address="127.0.0.1") for name in ("busy", "calm"))
    many = [queue.join(busy) for _ in range(4)]
    one = queue.join(calm)
    person = queue.join(Asker(kind="page", name="1"))
    assert served(queue, [*many, one, person]) == [many[0], person, one, *many[1:]]


def test_whoever_asks_again_after_each_answer_is_not_put_back() -> None:
    """One request at a time is no greed: such a client waits its turn like any other."""
    queue = Queue()
    first, second = queue.join(A), queue.join(B)
    with first:
        pass
    again = queue.join(A)
    later = queue.join(C)
    assert (second.ahead, again.ahead, later.ahead) == (0, 1, 2)


def test_nobody_waits_for_ever_behind_askers_that_keep_coming() -> None:
    queue = Queue()
    places = [queue.join(A), queue.join(A)]
    last, served_others = places[1], 0
    while last.ahead:
        queue.join(Asker(kind="api", name=f"{served_others}"))
        for place in [queue._serving]:
            assert place is not None
            with place:
                served_others += 1
    assert served_others <= STRIDE + 2


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=40), st.booleans())
def test_an_askers_own_requests_keep_their_order(steps: list[tuple[str, bool]], one_address: bool) -> None:
    queue, places, order, names = Queue(), [], [], "abcd"
    for name, ends in steps:
        places.append(queue.join(Asker(kind="api", name=name, address="10.0.0.5" if one_address else "")))
        if ends:
            (now,) = [place for place in places if place.ahead == 0]
            order.append(now)
            with now:
                pass
    order += served(queue, places)
    assert len(order) == len(places)
    for name in names:
        own = [places.index(place) for place in order if place.asker.name == name]
        assert all(before < after for before, after in pairwise(own))


def test_waiting_reports_each_change_until_the_turn_comes() -> None:
    queue = Queue()
    first, second, third = queue.join(Asker(kind="model", name="m")), queue.join(A), queue.join(B)
    seen: list[Waiting] = []
    came = threading.Event()

    def wait() -> None:
        assert third.wait(seen.append)
        came.set()

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: seen == [Waiting(ahead=2, serving="model")])
    with first:
        pass
    wait_until(lambda: seen[1:] == [Waiting(ahead=1, serving="api")])
    assert not came.is_set()
    with second:
        pass
    assert came.wait(WAIT_S)
    thread.join(WAIT_S)
    assert queue.serving == B


def test_whoever_waits_can_leave_and_no_other_is_touched() -> None:
    queue = Queue()
    first, second, third = queue.join(A), queue.join(B), queue.join(C)
    second.give_up()
    assert not second.wait()
    assert (first.ahead, second.ahead, third.ahead) == (0, None, 1)
    first.give_up()  # its turn has come: it ends when its work does
    assert first.ahead == 0
    with first:
        pass
    assert third.ahead == 0
    with second:
        pass
    assert third.ahead == 0


def test_a_full_line_is_refused_with_a_time() -> None:
    now_s = [0.0]
    queue = Queue(lambda: now_s[0])
    with queue.join(A, most=2):
        now_s[0] = 20.0
        queue.join(A, most=2)
        queue.join(A, most=2)
        with pytest.raises(QueueFull, match="2 requests are waiting already") as full:
            queue.join(B, most=2)
    assert full.value.retry_after_s == 20
    assert queue.num_waiting == 1
    queue.join(Asker(kind="page", name="1"))  # a person is never refused


@pytest.mark.parametrize("its_turn", [True, False])
def test_a_place_for_which_there_is_no_thread_is_given_back(monkeypatch: pytest.MonkeyPatch, its_turn: bool) -> None:
    queue = Queue()
    before = [] if its_turn else [queue.join(A)]
    place, after = queue.join(B), queue.join(C)
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(NoThread, match="try again"):
        place.start(threading.Thread())
    assert (place.ahead, after.ahead) == (None, len(before))


def test_one_address_does_not_fill_the_line() -> None:
    queue = Queue()
    for n in range(3):  # the first has its turn
        queue.join(Asker(kind="api", name=f"{n}", address="10.0.0.5"), most=4, most_of_one=2)
    with pytest.raises(QueueFull, match="2 requests from your address are waiting already"):
        queue.join(Asker(kind="api", name="3", address="10.0.0.5"), most=4, most_of_one=2)
    assert queue.join(Asker(kind="api", name="0", address="10.0.0.6"), most=4, most_of_one=2).ahead == 1
