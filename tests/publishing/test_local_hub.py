"""Publishing and loading over a real connection: nothing of huggingface_hub is replaced but how long it waits."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys

import pytest
import tiny
from exported_folders import copied, sign
from hub_client import NAME, environment, in_cache, interpret, send, sent_files
from huggingface_hub import constants
from local_hub import OTHER_TOKEN, TOKEN, Model, local_hub

from interpretability.commands import main
from interpretability.hub import local_folder, origin_of
from interpretability.methods import load_interpreter


def changed(folder, target):
    """Return a copy of a published folder with ``snow`` at the end of some files."""
    copy = copied(folder, target)
    for name in ("README.md", "hyperparams.yaml", "example/residual.wav"):
        (copy / name).write_bytes((copy / name).read_bytes() + b"# snow\n")
    sign(copy)
    return copy


def snows(source, revision=None) -> bool:
    """Return whether a model, which has to load, is the one of :func:`changed`."""
    load_interpreter(source, revision=revision)
    return (local_folder(source, revision) / "hyperparams.yaml").read_bytes().endswith(b"# snow\n")


def test_what_is_sent_is_what_is_loaded(hub, stock_folder, tmp_path):
    done = send(stock_folder)
    assert done.code == 0, done.err
    commit = hub.models[NAME].branches["main"]
    assert f"sent: {hub.endpoint}/{NAME}/commit/{commit}" in done.out
    there = hub.files(NAME)
    there.pop(".gitattributes")
    assert there == sent_files(stock_folder)
    assert load_interpreter(NAME).classifier.labels == ["rain", "yes", "(dog)"]
    assert in_cache(tmp_path).items() <= there.items()
    to_store = [token for _, path, token, _ in hub.requests if path.startswith("/objects")]
    assert to_store
    assert set(to_store) == {None}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


def test_what_was_loaded_once_is_loaded_without_a_request(hub, stock_folder, request):
    commit = hub.put(NAME, stock_folder)
    first = local_folder(NAME)
    hub.requests.clear()
    tried = request.getfixturevalue("no_network")
    for again in (local_folder(NAME), local_folder(NAME, commit), local_folder(f"{NAME}@{commit}")):
        assert again == first
    assert load_interpreter(NAME).classifier.labels[0] == "rain"
    assert (hub.requests, tried) == ([], [])


def test_sending_again_sends_nothing(hub, stock_folder):
    send(stock_folder)
    first = hub.models[NAME].branches["main"]
    hub.requests.clear()
    done = send(stock_folder)
    assert done.code == 0, done.err
    assert hub.models[NAME].branches["main"] == first
    assert not [path for method, path in hub.writes if method == "PUT" or "/commit/" in path]


def test_private_a_branch_and_a_pull_request(hub, stock_folder, tmp_path, monkeypatch):
    assert send(stock_folder, "--private").code == 0
    assert hub.models[NAME].private
    first = hub.models[NAME].branches["main"]
    other = changed(stock_folder, tmp_path / "other")
    assert send(other, "--revision", "v2").code == 0
    assert hub.models[NAME].branches["main"] == first
    assert hub.files(NAME, "v2")["README.md"].endswith(b"# snow\n")
    assert snows(NAME, revision="v2")
    hub.models[NAME].private = False
    monkeypatch.setenv("HF_TOKEN", OTHER_TOKEN)  # who may read it may propose
    done = send(other, "--create_pr")
    assert f"sent: {hub.endpoint}/{NAME}/discussions/1" in done.out, done.err
    assert hub.models[NAME].branches["main"] == first
    assert snows(f"{NAME}@refs/pr/1")


def test_a_dry_run_sends_no_request(hub, stock_folder):
    done = send(stock_folder, "--dry_run", "--private", "--revision", "v2")
    assert done.code == 0, done.err
    assert hub.requests == []
    assert hub.models == {}


@pytest.mark.parametrize(
    ("token", "options", "there", "words"),
    [
        (None, [], None, ("refuses this (401)", "hf auth login")),
        ("hf_expired", [], None, ("refuses this (401)", "hf auth login")),
        (OTHER_TOKEN, [], None, ("refuses this (403)", "hf auth login")),
        (OTHER_TOKEN, [], Model(), ("refuses this (403)", "hf auth login")),
        (OTHER_TOKEN, ["--create_pr"], Model(private=True), ("refuses this (403)", "hf auth login")),
        (TOKEN, ["--private"], Model(), ("for all to see", "leave --private out; nothing was sent")),
    ],
    ids=["no token", "bad token", "another's name", "another's model", "unseen", "public"],
)
def test_refused_to_send(token, options, there, words, hub, stock_folder, monkeypatch):
    if there is not None:
        hub.models[NAME] = model = dataclasses.replace(there, branches={}, commits={})
        model.commit("main", {})
    before = {name: dict(model.branches) for name, model in hub.models.items()}
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    line = send(stock_folder, *options).line
    assert line.startswith(f"error: {NAME}: ")
    assert [word for word in words if word not in line] == []
    assert {name: dict(model.branches) for name, model in hub.models.items()} == before
    assert hub.contents == {}


@pytest.mark.parametrize(
    ("token", "source", "settings", "words"),
    [
        (TOKEN, "anna/frogs", {}, ("nor a model on the hub that you may read", "check the name")),
        (None, "anna/frogs", {}, ("nor a model on the hub that you may read", "check the name")),
        (TOKEN, f"{NAME}@v9", {}, ("no such revision", "name a branch, a tag or a commit")),
        (TOKEN, f"{NAME}@{'1' * 40}", {}, ("no such revision", "name a branch, a tag or a commit")),
        ("hf_expired", NAME, {}, ("refuses this (401)", "hf auth login")),
        (None, NAME, {"private": True}, ("for a private model, log in with `hf auth login`",)),
        (OTHER_TOKEN, NAME, {"private": True}, ("for a private model, log in with `hf auth login`",)),
        (None, NAME, {"gated": True}, ("ask for it on the model's page", "hf auth login")),
        (OTHER_TOKEN, NAME, {"gated": True}, ("ask for it on the model's page", "hf auth login")),
    ],
)
def test_refused_to_load(token, source, settings, words, hub, stock_folder, tmp_path, monkeypatch):
    hub.put(NAME, stock_folder, **settings)
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    line = interpret(source, stock_folder / "example" / "input.wav", tmp_path / "out").line
    assert line.startswith(f"error: {source}: ")
    assert [word for word in words if word not in line] == []
    assert in_cache(tmp_path) == {}
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("HF_TOKEN", TOKEN)  # logged in, it works
    assert local_folder(NAME).is_dir()
    assert in_cache(tmp_path).items() <= sent_files(stock_folder).items()


def test_a_download_that_breaks_goes_on_where_it_was(hub, stock_folder, tmp_path, monkeypatch):
    hub.put(NAME, stock_folder)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    key = hub.models[NAME].commits[hub.models[NAME].branches["main"]]["interpreter.safetensors"]
    hub.cut("GET", f"/objects/{key}", after=5000, times=2)
    local_folder(NAME)
    assert [span for _, path, _, span in hub.requests if key in path] == [None, "bytes=5000-", "bytes=10000-"]
    assert in_cache(tmp_path).items() <= sent_files(stock_folder).items()


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/objects/"), ("HEAD", "config.json"), ("GET", "/tree/"), ("GET", "/revision/")]
)
def test_a_download_that_ends_leaves_nothing_damaged(method, path, hub, stock_folder, tmp_path):
    commit = hub.put(NAME, stock_folder)
    hub.cut(method, path)
    line = interpret(NAME, stock_folder / "example" / "input.wav", tmp_path / "out").line
    assert "broke off" in line
    assert line.endswith("run it again when the network is there (what was fetched is kept), or pass a local folder")
    assert in_cache(tmp_path).items() <= sent_files(stock_folder).items()
    hub.cuts.clear()
    hub.requests.clear()
    folder = local_folder(NAME)
    assert origin_of(folder) == {"repo_id": NAME, "revision": commit}
    assert load_interpreter(folder).classifier.labels[0] == "rain"


def test_a_file_that_arrives_damaged_does_not_stay(hub, stock_folder, tmp_path):
    hub.put(NAME, stock_folder)
    files = hub.models[NAME].commits[hub.models[NAME].branches["main"]]
    whole = dict(hub.contents)
    for name in ("interpreter.safetensors", "label_encoder.txt"):
        hub.contents[files[name]] = whole[files[name]][:-1] + b"#"
    line = interpret(NAME, stock_folder / "example" / "input.wav", tmp_path / "out").line
    assert "interpreter.safetensors, label_encoder.txt arrived damaged and was taken out of the cache again" in line
    assert not {"interpreter.safetensors", "label_encoder.txt"} & set(in_cache(tmp_path))
    hub.contents.update(whole)
    assert load_interpreter(NAME).classifier.labels[0] == "rain"


@pytest.mark.parametrize(("method", "path"), [("PUT", "/objects/"), ("POST", "/commit/"), ("POST", "/preupload/")])
def test_an_upload_that_breaks_changes_nothing_there(method, path, hub, stock_folder, tmp_path):
    send(changed(stock_folder, tmp_path / "other"))
    before = hub.files(NAME)
    hub.cut(method, path, after=3000)
    line = send(stock_folder).line
    assert "broke off" in line
    assert line.endswith("run it again: what arrived is not sent twice")
    assert hub.files(NAME) == before
    hub.cuts.clear()
    assert send(stock_folder).code == 0
    assert hub.files(NAME) == {**before, **sent_files(stock_folder)}


def test_an_upload_that_breaks_once_is_tried_again(hub, stock_folder):
    hub.cut("PUT", "/objects/", after=3000, times=2)
    done = send(stock_folder)
    assert done.code == 0, done.err
    assert hub.files(NAME).items() >= sent_files(stock_folder).items()


def test_a_revision_that_moves(hub, stock_folder, tmp_path):
    """What is named by its commit, or is in the cache, stays; a branch that is named is asked for."""
    first = hub.put(NAME, stock_folder)
    assert local_folder(NAME).name == first
    second = hub.put(NAME, changed(stock_folder, tmp_path / "other"))
    hub.requests.clear()
    assert local_folder(NAME).name == first
    assert local_folder(f"{NAME}@{first}").name == first
    assert hub.requests == []
    assert snows(f"{NAME}@main")
    assert local_folder(NAME, "main").name == second
    assert not snows(NAME, revision=first)


def test_one_command_asks_once_which_commit_a_branch_is(hub, stock_folder):
    hub.put(NAME, stock_folder)
    done = tiny.call(main.interpret, [f"{NAME}@main", "--list_classes"])
    assert "rain" in done.out, done.err
    assert len([path for _, path, *_ in hub.requests if "/revision/main" in path]) == 1


FRESH = """
import json, sys
from interpretability.commands import main
source, name, sound, out = sys.argv[1:]
codes = [main.publish([source, "--repo_id", name, "--license", "mit"])]
codes.append(main.interpret([name, sound, "--out", out + "/a"]))
print("LOADED", flush=True)
sys.stdin.readline()
codes.append(main.interpret([name, sound, "--out", out + "/b"]))
print(json.dumps(codes))
"""


@pytest.mark.slow
def test_a_fresh_process_publishes_loads_and_loads_again_when_the_hub_is_gone(tiny_piq_run, tiny_esc50, tmp_path):
    sound = next((tiny_esc50 / "audio").glob("*.wav"))
    with local_hub() as hub:
        hub.xet = tmp_path / "store"
        process = subprocess.Popen(
            [sys.executable, "-c", FRESH, tiny_piq_run, NAME, sound, tmp_path],
            cwd=tmp_path,
            env={**os.environ, **environment(hub, tmp_path / "home"), "PYTHONPATH": str(tiny.REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output = "".join(itertools.takewhile(lambda line: line != "LOADED\n", process.stdout))
    commit, count = hub.models[NAME].branches["main"], len(hub.requests)
    rest, _ = process.communicate("\n", timeout=60)
    assert rest.splitlines()[-1] == "[0, 0, 0]", output + rest
    assert count == len(hub.requests)
    assert "explains its example as the run does" in output
    for name in ("a", "b"):
        described = json.loads((tmp_path / name / "explanation.json").read_text("utf-8"))
        assert described["hub"]["interpreter"] == {"repo_id": NAME, "revision": commit}
    assert (tmp_path / "a" / "explanation.wav").read_bytes() == (tmp_path / "b" / "explanation.wav").read_bytes()
    assert TOKEN not in output + rest
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
