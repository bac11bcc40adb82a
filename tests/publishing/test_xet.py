"""By Xet, which huggingface_hub takes by itself: its client is the real one, and its store a folder."""

import pytest
from exported_folders import copied
from hub_client import NAME, in_cache, send, sent_files, speak_xet
from huggingface_hub import constants

from interpretability.errors import UserError
from interpretability.hub import local_folder
from interpretability.methods import load_interpreter
from interpretability.publishing.upload import contents

pytest.importorskip("hf_xet", reason="no hf_xet, which huggingface_hub needs on common machines: it takes Git LFS here")

#: More files than huggingface_hub's upload_folder keeps together when a commit is refused.
MANY = 40


@pytest.fixture
def xet(hub, tmp_path, monkeypatch):
    """A hub and a process that speak Xet."""
    speak_xet(monkeypatch, hub, tmp_path / "store")
    return hub


@pytest.fixture
def large(stock_folder, tmp_path):
    """A published folder of many files."""
    folder = copied(stock_folder, tmp_path / "large")
    for number in range(MANY):
        (folder / "example" / f"{number}.csv").write_text(f"{number}\n")
    assert len(contents(folder)) > MANY
    return folder


def paths(hub, method):
    return [path for of, path, *_ in hub.requests if of == method]


def test_what_is_sent_is_what_is_loaded(xet, stock_folder, tmp_path):
    done = send(stock_folder)
    assert done.code == 0, done.err
    assert f"{NAME}: sent: {xet.endpoint}" in done.out
    assert f"/api/models/{NAME}/xet-write-token/main" in paths(xet, "GET")
    assert paths(xet, "PUT") == []
    assert [path for path in paths(xet, "POST") if "/commit/" in path] == [f"/api/models/{NAME}/commit/main"]
    assert load_interpreter(NAME).classifier.labels == ["rain", "yes", "(dog)"]
    cached = in_cache(tmp_path)
    assert {"interpreter.safetensors", "classifier.safetensors", "config.json"} <= set(cached)
    assert cached.items() <= sent_files(stock_folder).items()
    assert not [path for path in paths(xet, "GET") if path.startswith("/objects")]


def test_what_models_share_in_the_cache_is_checked_and_does_not_stay_damaged(xet, stock_folder, tmp_path):
    """huggingface_hub keeps what Xet fetched once for all models, and looks at its size alone."""
    send(stock_folder)
    load_interpreter(NAME)
    xet.models["anna/frogs"] = xet.models[NAME]
    shared = (local_folder(NAME) / "interpreter.safetensors").resolve()
    assert shared.parents[1] == tmp_path / "cache" / "blobs"
    whole = shared.read_bytes()
    shared.chmod(0o600)
    shared.write_bytes(whole[:-1] + b"#")
    with pytest.raises(UserError, match=r"anna/frogs: interpreter\.safetensors arrived damaged"):
        load_interpreter("anna/frogs")
    assert load_interpreter("anna/frogs").classifier.labels[0] == "rain"
    assert (local_folder("anna/frogs") / "interpreter.safetensors").read_bytes() == whole


@pytest.mark.parametrize("by_xet", [True, False])
@pytest.mark.parametrize("status", [400, 413, 503])
def test_a_refused_commit_of_many_files_changes_nothing_there(status, by_xet, xet, large, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", not by_xet)
    xet.refuse("POST", "/commit/", status)
    line = send(large).line
    assert line.startswith(f"error: {NAME}: the hub answers with error {status} (this hub is in no mood for that): ")
    assert list(xet.files(NAME)) == [".gitattributes"]
    assert len([path for path in paths(xet, "POST") if "/commit/" in path]) == 1
    with pytest.raises(UserError, match="the hub has no weights or descriptions of that name"):
        load_interpreter(NAME)
    xet.cuts.clear()
    assert send(large).code == 0
    assert load_interpreter(NAME).classifier.labels[0] == "rain"  # and not what was in the cache of it
    model = xet.models[NAME]
    assert len(model.commits) == 2
    assert set(model.commits[model.branches["main"]]) == {".gitattributes", *dict(contents(large))}


@pytest.mark.parametrize("by_xet", [True, False])
def test_a_commit_of_many_files_that_breaks_off_is_whole_or_is_not(by_xet, xet, large, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", not by_xet)
    xet.cut("POST", "/commit/", after=3000, times=1)
    assert "broke off" in send(large).line
    assert list(xet.files(NAME)) == [".gitattributes"]
    xet.cut("POST", "/commit/", after=None, times=1)
    line = send(large).line
    assert "or, if only the answer was lost, as it was sent; run it again" in line
    model = xet.models[NAME]
    sent = model.branches["main"]
    assert set(model.commits[sent]) == {".gitattributes", *dict(contents(large))}
    done = send(large)
    assert done.code == 0, done.err
    assert model.branches["main"] == sent


@pytest.mark.parametrize("store", [None, "http://127.0.0.1:9"])
def test_where_xet_cannot_be_reached_the_way_around_is_said(store, xet, stock_folder, tmp_path, monkeypatch):
    speak_xet(monkeypatch, xet, store)
    line = send(stock_folder).line
    assert "cannot be reached" in line
    assert line.endswith("HF_HUB_DISABLE_XET=1 before the command goes without it")
    assert list(xet.files(NAME)) == [".gitattributes"]
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    assert send(stock_folder).code == 0
    assert load_interpreter(NAME).classifier.labels[0] == "rain"


def test_a_store_that_is_gone_leaves_nothing_damaged(xet, stock_folder, tmp_path, monkeypatch):
    send(stock_folder)
    speak_xet(monkeypatch, xet, tmp_path / "store")
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="run it again when the network is there"):
        load_interpreter(NAME)
    assert in_cache(tmp_path).items() <= sent_files(stock_folder).items()
