"""Names of models on a hub, and their folders in the cache: read without a request, known by their commit."""

import pytest
from huggingface_hub import constants

from interpretability.errors import MissingError, UserError
from interpretability.hub import is_inside, is_name, local_folder, origin_of

COMMIT, OTHER = f"{'0' * 39}1", f"{'0' * 39}2"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache of huggingface_hub with two commits of anna/birds, the first of which is the main branch."""
    root = tmp_path / "cache"
    model = root / "models--anna--birds"
    for commit in (COMMIT, OTHER):
        (model / "snapshots" / commit).mkdir(parents=True)
        (model / "snapshots" / commit / "classifier.safetensors").write_text("weights")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT)
    (model / "blobs").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    return model


def test_a_name_is_two_words_that_are_no_folder_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "ben" / "frogs").mkdir(parents=True)
    for name in ("anna/birds", "anna/birds@v1", "anna/birds@refs/pr/3", "results/piq@main", "a.b-c/d_e"):
        assert is_name(name), name
    for path in (
        "results/piq",
        "ben/frogs",
        "birds",
        "a/b/c",
        "/anna/birds",
        "./anna/birds",
        "~/birds",
        "hf:anna/birds",
    ):
        assert not is_name(path), path
    for text in ("../anna", "anna/..", "anna/birds@", "anna/birds@a b", "anna//birds", "anna/birds\n", "anna/"):
        assert not is_name(text), text


def test_folders_stay_as_they_are(tmp_path, monkeypatch, no_network):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    assert str(local_folder("results/piq")) == "results/piq"
    assert local_folder(tmp_path) == tmp_path
    with pytest.raises(UserError, match=r"revision is 'v1', for .*, which is no name of a model on a hub"):
        local_folder(tmp_path, "v1")
    assert no_network == []


def test_what_is_in_the_cache_is_read_without_a_request(cache, no_network):
    main = cache / "snapshots" / COMMIT
    assert local_folder("anna/birds") == main
    for other in (local_folder("anna/birds", OTHER), local_folder(f"anna/birds@{OTHER}")):
        assert other == cache / "snapshots" / OTHER
    assert origin_of(main) == {"repo_id": "anna/birds", "revision": COMMIT}
    assert origin_of(main / "inside") == {"repo_id": "anna/birds", "revision": COMMIT}
    assert origin_of(cache) is None
    assert no_network == []


def test_a_branch_asks_the_hub_and_falls_back_on_the_cache(cache, no_network):
    assert local_folder("anna/birds@main") == cache / "snapshots" / COMMIT
    assert no_network


def test_what_is_nowhere_is_one_line(cache, no_network):
    with pytest.raises(
        MissingError,
        match=r"^carl/whales: there is no such folder here, .* the hub cannot be reached.* a local folder$",
    ):
        local_folder("carl/whales")
    with pytest.raises(MissingError, match=r"^anna/birds@v7: .* the hub cannot be reached"):
        local_folder("anna/birds", "v7")


def test_a_model_without_files_is_said_to_be_one(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path / COMMIT))
    with pytest.raises(MissingError, match=r"^anna/birds: the hub has no weights or descriptions of that name"):
        local_folder("anna/birds")


def test_a_folder_of_a_cache_that_is_gone_is_fetched_again(cache, no_network, tmp_path):
    """The archived YAML of a run names the folder in the cache that it read."""
    gone = tmp_path / "elsewhere" / "models--anna--birds" / "snapshots" / COMMIT
    assert local_folder(gone) == cache / "snapshots" / COMMIT
    assert local_folder(gone / "classifier") == cache / "snapshots" / COMMIT / "classifier"


def test_links_lead_into_the_folder_or_to_the_files_of_the_cache(cache, tmp_path):
    snapshot, secret = cache / "snapshots" / COMMIT, tmp_path / "secret"
    secret.write_text("x")
    (cache / "blobs" / "abc").write_text("x")
    (snapshot / "good").symlink_to("../../blobs/abc")
    (snapshot / "bad").symlink_to(secret)
    assert is_inside(snapshot / "good", snapshot)
    assert is_inside(snapshot / "classifier.safetensors", snapshot)
    assert not is_inside(snapshot / "bad", snapshot)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "link").symlink_to(cache / "blobs" / "abc")
    assert not is_inside(tmp_path / "plain" / "link", tmp_path / "plain")
