"""Fixtures that several parts of the tests need."""

import fcntl
import gc
import os
import socket
from collections.abc import Callable
from pathlib import Path

# The networks of tests are tiny: a second thread costs more than it gives, above all beside other processes.
# Set before torch is imported; the processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import exported_folders
import pytest
import tiny

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes ``-n auto`` means: one per core for all tests, none beside this one for a part."""
    part = config.args_source is pytest.Config.ArgsSource.ARGS or config.option.keyword
    return 0 if part else min(len(os.sched_getaffinity(0)), 8)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of the slowest tests first: what takes longest must not be left to one process at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Look for garbage less often, and not among the objects of imported libraries: it took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="session")
def esc10_folder() -> Path:
    """The folder of the real ESC-10 clips; the test is skipped where it is absent."""
    named = os.environ.get("AUDIO_INTERPRETABILITY_ESC10")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data" / "ESC-10"
    if not (folder / "meta" / "esc50.csv").is_file():
        pytest.skip(f"no ESC-10 in {folder}: set AUDIO_INTERPRETABILITY_ESC10 to its folder")
    return folder


@pytest.fixture(scope="session")
def built_once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A function that returns the folder of a name, filled by the first process of pytest-xdist that asks for it."""

    def build(name: str, fill: Callable[[Path], object]) -> Path:
        shared = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            shared = shared.parent  # of all workers
        with open(shared / f"{name}.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.getsize(lock.name):
                fill(shared / name)
                lock.write("filled")
        return shared / name

    return build


@pytest.fixture(scope="session")
def tiny_esc50(built_once) -> Path:
    """A folder in ESC-50's layout: 3 classes of noisy tones, 3 folds, 18 clips of 0.4 to 0.6 s at 8 kHz. Read only."""
    return built_once("tiny", lambda folder: tiny.make_data(folder / "data")) / "data"


def tiny_run(built_once, name: str, *args, **settings) -> Path:
    """Return the output folder of a tiny run that ended well."""

    def fill(folder: Path) -> None:
        job, data, *yaml = args
        outcome = tiny.run(job, data, folder / "run", *yaml, **settings)
        assert outcome.code == 0, outcome.err

    return built_once(name, fill) / "run"


@pytest.fixture(scope="session")
def tiny_classifier_folder(tiny_esc50, built_once) -> Path:
    """The folder of a compact classifier trained on ``tiny_esc50`` for 3 epochs; its parent is the run. Read only."""
    return tiny_run(built_once, "tiny_classifier", "classifier", tiny_esc50, number_of_epochs=3) / "classifier"


@pytest.fixture(scope="session")
def tiny_piq_run(tiny_esc50, tiny_classifier_folder, built_once) -> Path:
    """The output folder of PIQ trained on ``tiny_esc50`` for 3 epochs. Read only: copy it to change it."""
    settings = {"number_of_epochs": 3, "classifier_folder": tiny_classifier_folder}
    return tiny_run(built_once, "tiny_piq", "interpreter", tiny_esc50, **settings)


@pytest.fixture(scope="session")
def tiny_lmac_run(tiny_esc50, tiny_classifier_folder, built_once) -> Path:
    """The output folder of L-MAC trained on ``tiny_esc50`` for 2 epochs. Read only: copy it to change it."""
    settings = {"number_of_epochs": 2, "classifier_folder": tiny_classifier_folder}
    yaml = tiny.RECIPE / "hparams" / "lmac.yaml"
    return tiny_run(built_once, "tiny_lmac", "interpreter", tiny_esc50, yaml, **settings)


@pytest.fixture(scope="session")
def stock_folder(built_once) -> Path:
    """A PIQ with SpeechBrain's own networks, published as anna/birds. Read only: copy it to change it."""

    def fill(folder: Path) -> None:
        source = exported_folders.save_piq_of_speechbrain(folder / "run")
        exported_folders.publish(source, folder / "anna" / "birds")

    return built_once("stock_folder", fill) / "anna" / "birds"


@pytest.fixture
def no_network(monkeypatch):
    """A machine on which nothing can be connected to; returns the list of what was tried."""
    tried = []

    def refuse(*arguments, **_):
        tried.append(arguments)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried
