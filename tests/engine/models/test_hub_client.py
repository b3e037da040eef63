"""The Hub's library: each of its failures is a sentence, and so is a setting that keeps it from starting."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import errors

from engine.errors import EngineError, NotEnoughDisk
from engine.models.hub.client import translate

NAME = "someone/tiny"
TinyModel = Callable[..., Path]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ALL_PROXY": "socks5://127.0.0.1:9"}, r"cannot start: .*SOCKS.*unset ALL_PROXY in the environment"),
        ({"ALL_PROXY": "http://127.0.0.1:9"}, r"cannot be reached.*Check the network and .* says \(ALL_PROXY\)"),
        ({"HTTPS_PROXY": "foo://x:9"}, r"cannot start: .*foo.*unset HTTPS_PROXY"),
        ({"SSL_CERT_FILE": "/no/such.pem"}, r"cannot start: .*No such file.*unset SSL_CERT_FILE"),
        ({"HF_TOKEN": "hf_\u00e4"}, r"cannot start: .*ascii.*unset HF_TOKEN"),
        ({"HF_TOKEN_PATH": "/"}, r"start: .*directory.*unset HF_TOKEN_PATH"),
        ({"HF_HUB_DOWNLOAD_TIMEOUT": "soon"}, r"start: .*'soon'.*unset HF_HUB_DOWNLOAD_TIMEOUT"),
        ({"HF_ENDPOINT": "http://[::1"}, r"start: .*IPv6.*unset HF_ENDPOINT"),
        ({"HF_ENDPOINT": "nonsense"}, r"cannot be reached.*\(HF_ENDPOINT\)"),
    ],
    ids=str,
)
def test_settings_that_keep_the_library_from_the_hub_are_named(settings: dict[str, str], words: str) -> None:
    """In a process of its own: libraries read the environment when they are imported."""
    code = (
        "from engine.errors import NetworkUnavailable\n"
        "from engine.models.hub.download import fetch\n"
        "try:\n    fetch('someone/nowhere', print)\n"
        "except NetworkUnavailable as exc:\n    print(exc)"
    )
    pattern = re.compile(r"(all|https?|no)_proxy|ssl_.*|hf_.*", re.IGNORECASE)
    environment = {name: value for name, value in os.environ.items() if not pattern.fullmatch(name)}
    environment |= {"PYTHONUTF8": "1"} | settings
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", env=environment
    )
    assert re.search(words, found.stdout.splitlines()[-1]), found.stderr + found.stdout


def test_a_local_model_does_not_need_working_settings_of_the_network(tiny_model: TinyModel) -> None:
    code = (
        "from engine.config import ModelSpec\n"
        "from engine.models.loader import load_model\n"
        f"print(load_model(ModelSpec(model={str(tiny_model('llama'))!r}, device='cpu'), lambda p: None).num_parameters)"
    )
    broken = {"ALL_PROXY": "socks5://127.0.0.1:9", "SSL_CERT_FILE": "/no/such.pem", "HF_TOKEN_PATH": "/"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | broken)
    assert found.stdout.split() == ["123200"], found.stderr


def test_a_library_that_cannot_start_is_a_sentence_when_a_local_model_is_loaded(tiny_model: TinyModel) -> None:
    code = (
        "from engine.config import ModelSpec\n"
        "from engine.engine import Engine\n"
        "from engine.errors import NetworkUnavailable\n"
        f"try:\n    list(Engine().load(ModelSpec(model={str(tiny_model('llama'))!r}, device='cpu')))\n"
        "except NetworkUnavailable as exc:\n    print(exc)"
    )
    broken = {"HF_HUB_DOWNLOAD_TIMEOUT": "soon"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | broken)
    assert "unset HF_HUB_DOWNLOAD_TIMEOUT" in found.stdout, found.stderr


def all_subclasses(cls: type) -> set[type]:
    return {cls}.union(*(all_subclasses(c) for c in cls.__subclasses__()))


def test_every_error_of_the_hubs_library_that_can_come_here_has_a_sentence() -> None:
    class Response:
        status_code = 418

    kinds = all_subclasses(errors.HfHubHTTPError) | all_subclasses(errors.EntryNotFoundError)
    kinds |= {errors.OfflineModeIsEnabled, errors.FileMetadataError, errors.HFValidationError}
    for kind in kinds:
        exc = kind.__new__(kind)
        exc.__dict__["response"] = Response()
        sentence = translate(exc, NAME)
        assert isinstance(sentence, EngineError), kind
        assert NAME in str(sentence)
    full = translate(OSError(errno.ENOSPC, "No space left on device"), NAME)
    assert isinstance(full, NotEnoughDisk)
    assert translate(KeyError("x"), NAME) is None
