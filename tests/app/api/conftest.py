"""The API over a scripted engine, in this process and on a real port."""

from collections.abc import Iterator
from contextlib import closing

import httpx2
import pytest
from starlette.testclient import TestClient

from app.store.access import ApiAccess
from app.store.store import Store
from tests.api import URL, Api, on_a_port
from tests.scripted import loaded_engine
from tests.turns import ANSWER, WAIT_S, wait_until


@pytest.fixture
def api(store: Store) -> Iterator[Api]:
    access = ApiAccess(store)
    access.switch(True)
    made = Api(loaded_engine(answers=(ANSWER,)), access, key=access.new_key())
    yield made
    made.engine.release()
    wait_until(lambda: made.queue.serving is None)  # no answer is left behind


@pytest.fixture
def client(api: Api) -> Iterator[TestClient]:
    with TestClient(api.app(), base_url=URL, headers=api.headers) as client:
        yield client


@pytest.fixture
def address(api: Api) -> Iterator[str]:
    with on_a_port(api.app()) as address:
        yield address


@pytest.fixture
def real_client(api: Api, address: str) -> Iterator[httpx2.Client]:
    with closing(httpx2.Client(base_url=address, headers=api.headers, timeout=WAIT_S)) as client:
        yield client
