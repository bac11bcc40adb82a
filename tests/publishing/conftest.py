"""A hub for the tests of publishing: nothing of huggingface_hub is replaced but how long it waits."""

import pytest
from hub_client import connect
from local_hub import local_hub

from interpretability.commands import publish


@pytest.fixture(scope="module")
def server():
    with local_hub() as hub:
        yield hub


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """An empty hub; this process is logged in as anna and has an empty cache. The check's process is not started."""
    server.clear()
    connect(monkeypatch, server, tmp_path / "cache")
    monkeypatch.setattr(publish, "check_folder", lambda *_: {"here": 200.0})
    return server
