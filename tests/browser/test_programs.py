"""The page's switch of the API: the key that it shows opens the API, and is gone when the page is opened again."""

from typing import Any

import httpx2
import pytest

expect: Any = pytest.importorskip("playwright.sync_api").expect


def test_the_page_switches_the_api_on_and_shows_its_key_once(open_page: Any, start_server: Any) -> None:
    server = start_server()
    models = f"{server.url}v1/models"
    page = open_page(server)
    page.locator("#programs button").first.click()
    expect(page.locator("#programs-said")).to_contain_text("Off.")
    page.get_by_label("Let other programs use the model").check()
    expect(page.locator("#programs-said")).to_contain_text(f"On, at {server.url}v1")
    key = page.locator("#programs-key textarea, #programs-key input").input_value()
    assert httpx2.get(models).status_code == 401
    assert httpx2.get(models, headers={"Authorization": f"Bearer {key}"}).status_code == 200
    page.reload()
    page.locator("#programs button").first.click()
    expect(page.get_by_label("Let other programs use the model")).to_be_checked()
    expect(page.locator("#programs-said")).to_contain_text(f"Their key ends in {key[-4:]}")
    expect(page.locator("#programs-key")).to_be_hidden()
    page.get_by_label("Let other programs use the model").uncheck()
    expect(page.locator("#programs-said")).to_contain_text("Off.")
    assert httpx2.get(models, headers={"Authorization": f"Bearer {key}"}).status_code == 404
