"""A message that is sent while a model is being loaded is answered when it is there."""

import threading
from collections.abc import Generator, Iterator
from dataclasses import replace

import pytest

from app.chat.services import Services
from app.chat.turn import NEVER_BEGAN, Turn
from app.page.chat import ChatHandlers
from app.page.gradio_internals import Page
from app.page.layout import build_parts
from app.page.models import ModelHandlers
from app.page.pace import Pacer
from app.page.parts import Parts
from app.page.presenter import Presenter
from app.page.settings import show
from app.page.tab import Tab
from app.store.records import ConversationSettings
from app.store.store import Store
from engine.config import ModelSpec, Sampling
from engine.errors import EngineError
from engine.events import LoadProgress
from tests.scripted import ScriptedEngine
from tests.turns import ANSWER, finish, wait_until


class HeldLoad(ScriptedEngine):
    """Every load stands still in the middle until `go_on` is set."""

    go_on: threading.Event
    fails = False

    def _load(self, spec: ModelSpec, stop: threading.Event) -> Generator[LoadProgress, None, None]:
        for progress in super()._load(spec, stop):
            yield progress
            if progress.stage == "weights":
                while not (self.go_on.is_set() or stop.is_set()):
                    self.go_on.wait(0.01)
                if stop.is_set() or self.fails:
                    raise EngineError("The weights are damaged.")


@pytest.fixture
def services(store: Store) -> Iterator[Services]:
    """Services whose engine is in the middle of a load."""
    engine = HeldLoad(answers=(ANSWER,))
    engine.go_on = threading.Event()
    services = Services(engine, store)
    services.load_first(named=True)
    wait_until(lambda: (progress := services.loader.state().progress) is not None and progress.stage == "weights")
    yield services
    engine.go_on.set()
    services.close()
    wait_until(lambda: not services.loader.state().running)


def let_go(services: Services) -> None:
    assert isinstance(services.engine, HeldLoad)
    services.engine.go_on.set()


def send(services: Services, settings: ConversationSettings | None = None, *, recommended: bool = False) -> Turn:
    conversation_id = services.store.new_conversation(settings or ConversationSettings()).id
    return services.chat.send(conversation_id, "Anybody there?", recommended=recommended)


def test_the_message_is_kept_at_once_and_answered_by_the_model_that_comes(services: Services) -> None:
    turn = send(services)
    question, answer = services.store.path(turn.conversation_id)
    assert (question.text, answer.status) == ("Anybody there?", "streaming")
    assert turn.state().num_tokens == 0
    assert services.chat.running is turn
    let_go(services)
    finish(turn)
    answer = services.store.message(turn.message_id)
    assert (answer.text, answer.status) == (ANSWER, "complete")
    assert answer.run is not None
    assert services.engine.info is not None
    assert answer.run.model == services.engine.info.name


def test_a_stop_ends_the_wait_and_leaves_the_load_alone(services: Services) -> None:
    turn = send(services)
    turn.stop()
    finish(turn)
    answer = services.store.message(turn.message_id)
    assert (answer.text, answer.status, answer.error) == ("", "stopped", NEVER_BEGAN)
    assert turn.state().done
    assert services.loader.state().running
    again = services.chat.regenerate(turn.conversation_id, turn.message_id)
    let_go(services)
    finish(again)
    assert services.store.message(again.message_id).text == ANSWER


@pytest.mark.parametrize("cancelled", [True, False])
def test_why_no_model_came_is_why_there_is_no_answer(services: Services, cancelled: bool) -> None:
    turn = send(services)
    assert isinstance(services.engine, HeldLoad)
    services.engine.fails = True
    if cancelled:
        services.loader.unload()
    else:
        let_go(services)
    finish(turn)
    answer = services.store.message(turn.message_id)
    why = "No model is loaded: choose one first." if cancelled else "The weights are damaged."
    assert (answer.text, answer.status, answer.error) == ("", "error", why)


def test_it_is_sampled_as_the_model_recommends_unless_somebody_chose(services: Services) -> None:
    turn = send(services, recommended=True)
    let_go(services)
    finish(turn)
    recommended = Sampling(temperature=0.7, top_p=0.9)
    assert services.store.conversation(turn.conversation_id).settings.sampling == recommended
    assert isinstance(services.engine, HeldLoad)
    asked = services.engine.requests[-1].sampling
    assert replace(asked, seed=0) == recommended
    assert asked.seed


def test_a_load_that_a_message_waits_for_can_be_cancelled(services: Services, page: tuple[ChatHandlers, Parts]) -> None:
    parts = page[1]
    turn = send(services)
    ModelHandlers(services, parts, Presenter(services, parts, Pacer())).unload(Tab())
    finish(turn)
    assert services.store.message(turn.message_id).error == "No model is loaded: choose one first."


@pytest.fixture
def page(services: Services) -> tuple[ChatHandlers, Parts]:
    with Page():
        parts = build_parts([])
    return ChatHandlers(services, parts, Presenter(services, parts, Pacer())), parts


@pytest.mark.parametrize("chosen", [None, Sampling(temperature=0.3)])
def test_the_page_says_that_a_message_waits_and_then_which_sampling_it_took(
    services: Services, page: tuple[ChatHandlers, Parts], chosen: Sampling | None
) -> None:
    handlers, parts = page
    shown = show(parts.settings, ConversationSettings(sampling=chosen or Sampling()))
    controls = [shown[control] for control in parts.settings.all()]
    steps = handlers.send(Tab(opened=True), "Anybody there?", *controls)
    first = next(steps)
    assert first[parts.box] == ""
    assert first[parts.live]["running"]
    assert first[parts.live]["sentence"].endswith("; then your message is answered")
    let_go(services)
    last = {key: value for step in steps for key, value in step.items()}
    assert ANSWER in last[parts.chat][-1]["content"][0]["text"]
    assert last.get(parts.settings.temperature) == (None if chosen else 0.7)
    assert services.store.path(1)[-1].status == "complete"
    assert last[parts.header]["model"] == "starter"
