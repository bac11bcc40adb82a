"""This process as a user of a local hub: logged in, with a cache; what it sends, loads, and is told."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
from huggingface_hub import constants
from huggingface_hub.utils import _xet
from local_hub import OTHER_TOKEN, TOKEN, LocalHub

from interpretability.commands import main
from interpretability.publishing.upload import contents

NAME = "anna/birds"
PAUSE = 0.01  # s, for huggingface_hub's waits before it tries again


def connect(patch: pytest.MonkeyPatch, hub: LocalHub, cache: Path, token: str | None = TOKEN) -> None:
    """Lead huggingface_hub in this process, which has read its variables, to a hub, with a cache and a token."""
    patch.setattr(constants, "ENDPOINT", hub.endpoint)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setattr(constants, "HF_TOKEN_PATH", str(cache.with_name("no-token")))
    patch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    patch.delenv("HF_TOKEN", raising=False)
    if token is not None:
        patch.setenv("HF_TOKEN", token)
    quick = SimpleNamespace(sleep=lambda _: threading.Event().wait(PAUSE))
    patch.setattr("huggingface_hub.utils._http.time", quick)
    patch.setattr("huggingface_hub.file_download.time", quick)


def speak_xet(patch: pytest.MonkeyPatch, hub: LocalHub, store: Path | str) -> None:
    """Let a hub, and the process that is connected to it, speak Xet, as huggingface_hub does by itself."""
    hub.xet = store
    patch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    # What it keeps from one hub to the next, and how often it tries.
    patch.setattr(_xet, "XET_CONNECTION_INFO_CACHE", {})
    patch.setattr(_xet, "_GLOBAL_XET_HOLDER", _xet.XetSessionHolder())
    patch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "0")
    patch.setenv("HF_XET_LOG_DEST", os.devnull)


def environment(hub: LocalHub, home: Path) -> dict[str, str]:
    """Return the variables that lead a fresh process to a hub, with an empty cache below ``home``."""
    return {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HF_TOKEN": TOKEN}


def send(folder, *options) -> tiny.Outcome:
    return without_token(tiny.call(main.publish, [str(folder), "--repo_id", NAME, *options]))


def interpret(source, sound, out) -> tiny.Outcome:
    """Explain a sound by ``tools/interpret.py``."""
    return without_token(tiny.call(main.interpret, [source, str(sound), "--out", str(out)]))


def without_token(outcome: tiny.Outcome) -> tiny.Outcome:
    for token in (TOKEN, OTHER_TOKEN):
        assert token not in outcome.out + outcome.err
    return outcome


def sent_files(folder) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name, _ in contents(folder)}


def in_cache(tmp_path) -> dict[str, bytes]:
    """Return the files of all commits in the cache; nothing unfinished may lie beside them."""
    cache = tmp_path / "cache"
    assert list(cache.rglob("*.incomplete")) == []
    return {path.name: path.read_bytes() for path in cache.glob("*/snapshots/*/*")}
