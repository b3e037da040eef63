"""The folders, the lock that only one instance holds, and the log."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.home import AlreadyRunning, Home, HomeError, Instance, InstanceLock, start_log


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "home"))
    return Home.find().create()


def test_the_environment_moves_everything(home: Home, tmp_path: Path) -> None:
    for folder in (home.data, home.logs, home.cache, home.database, home.log, home.findings):
        assert folder.is_relative_to(tmp_path / "home")
    assert home.data.is_dir()
    assert home.logs.is_dir()
    assert home.cache.is_dir()


def test_what_is_found_out_about_models_is_kept_in_the_cache_and_packs_among_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.main import _in_process
    from engine.process import worker

    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "home"))
    given: list[tuple[Path | None, Path | None]] = []
    monkeypatch.setattr("engine.engine.Engine", lambda *folders: given.append(folders))
    _in_process()
    monkeypatch.setattr(worker, "run", lambda make_engine: make_engine())
    for argv in (["worker", str(tmp_path), "packs"], ["worker", str(tmp_path)], ["worker"]):
        monkeypatch.setattr("sys.argv", argv)
        worker.main()
    home = tmp_path / "home"
    assert given[0] == (home / "cache" / "findings", home / "drafters")
    assert given[1:] == [(tmp_path, Path("packs")), (tmp_path, None), (None, None)]
    assert not (tmp_path / "home").exists()


def test_without_it_the_users_folders_are_found_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLIPSTREAM_HOME", raising=False)
    for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    home = Home.find()
    assert "slipstream" in str(home.data)
    assert len({home.data, home.logs, home.cache}) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_is_a_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SLIPSTREAM_HOME", str(tmp_path / "file"))
    with pytest.raises(HomeError, match=r"cannot be created .* choose another one with --home"):
        Home.find().create()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights elsewhere")
def test_an_old_home_that_others_could_read_is_closed(home: Home, tmp_path: Path) -> None:
    ours = [home.database, home.data / "slipstream.db-wal", home.log, home.data / "instance.json"]
    other, outside = home.data / "mine.txt", tmp_path / "outside"
    for path in (*ours, other, outside):
        path.touch()
        path.chmod(0o664)
    (home.logs / "linked.log").symlink_to(outside)
    for folder in (home.data, home.logs, home.cache):
        folder.chmod(0o755)
    home.create()
    assert {path.stat().st_mode & 0o777 for path in ours} == {0o600}
    assert {folder.stat().st_mode & 0o777 for folder in (home.data, home.logs, home.cache)} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in (other, outside)} == {0o664}


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps rights elsewhere")
def test_the_folders_are_this_users_alone(home: Home) -> None:
    assert home.data.stat().st_mode & 0o077 == 0


def test_a_second_instance_is_told_where_the_first_one_is(home: Home) -> None:
    with InstanceLock(home) as lock:
        with pytest.raises(AlreadyRunning, match="still starting") as caught, InstanceLock(home):
            pass
        assert caught.value.other is None
        lock.announce(Instance(os.getpid(), 7860, "http://127.0.0.1:7860"))
        with (
            pytest.raises(AlreadyRunning, match=r"at http://127\.0\.0\.1:7860 \(process") as caught,
            InstanceLock(home),
        ):
            pass
        assert caught.value.other == Instance(pid=os.getpid(), port=7860, url="http://127.0.0.1:7860")
    with InstanceLock(home):
        pass


def test_a_killed_instance_leaves_the_home_free(home: Home) -> None:
    script = (
        "import os\n"
        "from app.home import Home, Instance, InstanceLock\n"
        "lock = InstanceLock(Home.find()).__enter__()\n"
        "lock.announce(Instance(1, 1, 'http://127.0.0.1:1'))\n"
        "os._exit(9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False)
    assert ended.returncode == 9
    assert (home.data / "instance.json").exists()
    with InstanceLock(home):
        assert not (home.data / "instance.json").exists()  # the dead one's address is not given out


def test_a_damaged_announcement_counts_as_none(home: Home) -> None:
    with InstanceLock(home):
        (home.data / "instance.json").write_text('{"pid": "x"')
        with pytest.raises(AlreadyRunning) as caught, InstanceLock(home):
            pass
        assert caught.value.other is None


def test_the_log_goes_to_a_file(home: Home) -> None:
    root = logging.getLogger()
    level = root.level
    handler = start_log(home)
    try:
        logging.getLogger("app.somewhere").info("a line with é")
        handler.flush()
        assert "INFO app.somewhere: a line with é" in home.log.read_text(encoding="utf-8")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
