"""What is asked of huggingface_hub; tests with a hub of our own are in test_local_hub.py."""

from types import SimpleNamespace

import pytest
from exported_folders import copied

from interpretability.errors import UserError
from interpretability.publishing.upload import Destination, contents, upload


@pytest.fixture
def calls(monkeypatch):
    """What is called, in its order; nothing is sent."""
    record = []

    class Api:
        def __getattr__(self, name):
            def call(*arguments, **named):
                record.append((name, arguments, named))
                return SimpleNamespace(commit_url="https://hub/commit/1", pr_url="https://hub/pr/1", private=True)

            return call

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    return record


def test_one_commit_of_all_files_but_those_of_this_machine(calls, stock_folder, tmp_path):
    folder = copied(stock_folder, tmp_path / "folder")
    for name in (".git/HEAD", ".cache/huggingface/x.lock"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("x")
    assert (folder / "contents.json").is_file()
    assert upload(folder, Destination("anna/birds", private=True)) == "https://hub/commit/1"
    assert [name for name, *_ in calls] == ["create_repo", "model_info", "create_commit"]
    assert calls[0][2] == {"private": True, "exist_ok": True}
    names = [operation.path_in_repo for operation in calls[2][1][1]]
    assert names == [name for name, _ in contents(folder)]
    assert {"example/figure.png", "config.json"} <= set(names)
    assert not [name for name in names if name == "contents.json" or name.startswith(".")]
    assert not [named for _, _, named in calls if "token" in named]  # huggingface_hub reads it


def test_a_branch_is_made_and_a_pull_request_has_none(calls, stock_folder):
    upload(stock_folder, Destination("anna/birds", revision="v2"))
    assert [name for name, *_ in calls] == ["create_repo", "create_branch", "create_commit"]
    assert calls[2][2]["revision"] == "v2"
    calls.clear()
    assert upload(stock_folder, Destination("anna/birds", create_pr=True)) == "https://hub/pr/1"
    assert [name for name, *_ in calls] == ["create_repo", "create_commit"]


def test_what_the_network_says_is_one_line(stock_folder, monkeypatch):
    class Api:
        def create_repo(self, *_, **__):
            raise ConnectionResetError("the other side\nhung up")

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    with pytest.raises(UserError, match=r"^anna/birds: the hub cannot be reached, or broke off \(the other side\)"):
        upload(stock_folder, Destination("anna/birds"))
