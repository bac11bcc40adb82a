"""Recipe YAMLs put together: what is laid over what, what the command line may change, and what is refused."""

import pytest
import tiny
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAML

from interpretability.errors import MissingError, UserError
from interpretability.training.archive import OLDER
from interpretability.training.composition import REQUIRED, Key, compose, list_keys, settings_taken_by

COUNTER = "!new:speechbrain.utils.epoch_loop.EpochCounter"


@pytest.fixture
def write(tmp_path):
    """Write YAMLs: ``__`` in a name stands for a folder; return the path of ``main``."""

    def write_files(**texts):
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / "main.yaml"

    return write_files


def plain(text: str) -> dict:
    return YAML(typ="safe").load(text)


# ---- What is laid over what ----


def test_without_extends_it_is_the_file_without_comments(write):
    path = write(main="# Title\nb: 1  # Hz\na: [1, 2]\nc: 'x: y'\nd: null\n")
    assert compose(path) == "b: 1\na: [1, 2]\nc: 'x: y'\nd:\n"


def test_the_extending_file_is_laid_over_the_later_over_the_earlier(write):
    path = write(
        main="extends: [first.yaml, second.yaml]\nc: 30\nd: 40\n",
        first="a: 1\nb: 1\nc: 1\n",
        second="b: 2\nc: 2\n",
    )
    assert list(plain(compose(path)).items()) == [("a", 1), ("b", 2), ("c", 30), ("d", 40)]


def test_paths_are_relative_to_the_file_that_extends(write, monkeypatch):
    path = write(main="extends: deep/one.yaml\n", deep__one="extends: ../two.yaml\na: 1\n", two="b: 2\n")
    assert plain(compose(path)) == {"b": 2, "a": 1}
    monkeypatch.chdir(path.parent)
    assert plain(compose("main.yaml")) == {"b": 2, "a": 1}


def test_a_file_that_two_extend_is_laid_down_once_beneath_both(write):
    path = write(
        main="extends: [one.yaml, two.yaml]\n",
        one="extends: common.yaml\na: 1\n",
        two="extends: common.yaml\nb: 2\n",
        common="a: 0\nb: 0\n",
    )
    assert plain(compose(path)) == {"a": 1, "b": 2}


def test_mappings_are_merged_lists_and_all_else_replaced(write):
    path = write(
        main="extends: low.yaml\nm: {x: {b: 20}, l: [3]}\nn: 5\no: {p: 1}\n",
        low="m: {x: {a: 1, b: 2}, l: [1, 2]}\nn: {q: 1}\no: 3\n",
    )
    assert plain(compose(path)) == {"m": {"x": {"a": 1, "b": 20}, "l": [3]}, "n": 5, "o": {"p": 1}}


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ("t: {b: 2}", "t: !new:collections.Counter\n  a: 1\n  b: 2\n"),
        ("t: !new:collections.Counter {b: 2}", "t: !new:collections.Counter\n  a: 1\n  b: 2\n"),
        ("t: !new:collections.Counter", "t: !new:collections.Counter\n  a: 1\n"),
        ("t: !new:collections.OrderedDict {b: 2}", "t: !new:collections.OrderedDict\n  b: 2\n"),
        ("t: !new:collections.OrderedDict", "t: !new:collections.OrderedDict {}\n"),
        ("t: !name:collections.Counter {b: 2}", "t: !name:collections.Counter\n  b: 2\n"),
        ("t: null", "t:\n"),
    ],
)
def test_settings_go_to_the_class_beneath_and_another_class_starts_without_settings(write, upper, expected):
    path = write(main=f"extends: low.yaml\n{upper}\n", low="t: !new:collections.Counter\n  a: 1\n")
    assert compose(path) == expected


def test_a_class_may_be_named_over_settings_that_lie_ready(write):
    path = write(main="extends: low.yaml\np: !name:collections.Counter {b: !ref <x>}\n", low="x: 3\np: {a: !ref <x>}\n")
    assert load_hyperpyyaml(compose(path))["p"]() == {"a": 3, "b": 3}


def test_tags_and_references_both_ways_survive(write):
    path = write(
        main="extends: low.yaml\nsize: 3\nnamed: !ref <made>\n",
        low=f"made: {COUNTER} {{limit: !ref <size>}}\nfirst: !apply:builtins.max [[!ref <size>, 1]]\nsize: 0\n",
    )
    loaded = load_hyperpyyaml(compose(path))
    assert loaded["made"].limit == loaded["first"] == 3
    assert loaded["named"] is loaded["made"]


def test_sections_come_after_the_keys_that_they_refer_to(write):
    """HyperPyYAML takes a reference to a later reference for a node."""
    path = write(main="section: {folder: !ref <folder>}\nfolder: !ref data/<seed>\nseed: 7\n")
    assert load_hyperpyyaml(compose(path))["section"] == {"folder": "data/7"}


# ---- The command line ----


@pytest.mark.parametrize(
    "overrides",
    [
        {"made.limit": "9"},
        {"made": "{limit: 9}"},
        {"made.limit": 9},
        {"made": {"limit": 9}},
        {"made": f"{COUNTER} {{limit: 9}}"},
        {"size": "9"},
        {"made.limit": "8", "made": "{limit: 9}"},
        {"made.limit": "!ref <other>"},
    ],
)
def test_every_form_of_an_override_reaches_the_object(write, overrides):
    path = write(main="extends: low.yaml\nsize: 3\nother: 9\n", low=f"made: {COUNTER}\n  limit: !ref <size>\n")
    assert load_hyperpyyaml(compose(path, overrides))["made"].limit == 9


def test_a_setting_that_the_yaml_does_not_name_can_be_overridden(write):
    path = write(main="optimizer: !name:torch.optim.AdamW\n")
    assert load_hyperpyyaml(compose(path, {"optimizer.lr": "0.5"}))["optimizer"].keywords == {"lr": 0.5}
    keys = list_keys(compose(path))
    assert keys[0] == Key("optimizer", target="!name:torch.optim.AdamW")
    assert Key("optimizer.lr", "0.001", given=False) in keys


def test_what_a_setting_holds_may_get_new_keys(write):
    path = write(main="made: !name:collections.OrderedDict {config: {a: 1}}\nfree: {a: 1}\n")
    overridden = load_hyperpyyaml(compose(path, {"made.config.b": "2"}))
    assert overridden["made"].keywords == {"config": {"a": 1, "b": 2}}
    with pytest.raises(UserError, match=r"--free\.b: .* has no such key"):
        compose(path, {"free.b": "2"})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("limit", "did you mean made.limit?"),
        ("limmit", "did you mean made.limit?"),
        ("szie", "did you mean size?"),
        ("zebra", "main.yaml has no such key (--help"),
        ("made.limmit", "made (EpochCounter) has no setting 'limmit': did you mean limit? It has limit"),
    ],
)
def test_an_override_of_nothing_names_the_nearest_key(write, name, words):
    path = write(main=f"size: 3\nmade: {COUNTER}\n  limit: !ref <size>\n")
    with pytest.raises(UserError) as caught:
        compose(path, {name: "5"})
    assert words in str(caught.value)


def test_an_override_that_is_not_yaml(write):
    with pytest.raises(UserError, match=r"--a, line 1: not valid YAML"):
        compose(write(main="a: 1\n"), {"a": "[1, 2"})


def test_placeholders_are_to_be_filled(write):
    path = write(main="extends: low.yaml\n", low="data: !PLACEHOLDER\nmade:\n  size: !PLACEHOLDER\n")
    with pytest.raises(UserError, match=r"made\.size has to be given: --made\.size VALUE"):
        compose(path, {"data": "x"})
    assert compose(path, {"data": "x", "made.size": "3"}) == "data: x\nmade:\n  size: 3\n"
    assert "!PLACEHOLDER" in compose(path, complete=False)


def test_the_archive_of_an_older_run_means_what_it_meant(write, tmp_path):
    write(hyperparams="seed: 1\n", main="seed: 1\n")
    assert plain(compose(tmp_path / "hyperparams.yaml")) == {"seed": 1, **OLDER}
    assert plain(compose(tmp_path / "hyperparams.yaml", {"channel": "left"})) == {"seed": 1, **OLDER, "channel": "left"}
    assert plain(compose(tmp_path / "main.yaml")) == {"seed": 1}
    assert (
        plain((tiny.REPOSITORY / "hparams" / "run.yaml").read_text("utf-8").replace("!", "")).items() >= OLDER.items()
    )


# ---- What is refused ----


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"main": "extends: none.yaml\n"}, ["main.yaml extends", "none.yaml, which is not there: correct the path"]),
        ({"main": "extends: main.yaml\n"}, ["main.yaml extends itself"]),
        ({"main": "extends: a.yaml\n", "a": "extends: main.yaml\n"}, ["main.yaml extends itself, by way of", "a.yaml"]),
        ({"main": "extends: {a: 1}\n"}, ["extends is", "expected a path or a list of paths"]),
        ({"main": "extends:\n"}, ["extends is None"]),
        ({"main": "a: 1\nb: 2\na: 3\n"}, ["main.yaml, line 3", 'duplicate key "a"']),
        ({"main": "extends: a.yaml\n", "a": "m: {x: 1, x: 2}\n"}, ["a.yaml, line 1", 'duplicate key "x"']),
        ({"main": "a: [1, 2\n"}, ["main.yaml, line", "not valid YAML"]),
        ({"main": "- 1\n- 2\n"}, ["expected keys with values"]),
        ({"main": ""}, ["expected keys with values"]),
        ({"main": "a: gr\xfcn\n".encode("latin-1")}, ["main.yaml is not UTF-8", "save it as UTF-8"]),
        (
            {"main": f"m: {COUNTER}\n    limmit: 3\n"},
            ["m (EpochCounter) has no setting 'limmit'", "did you mean limit?"],
        ),
        ({"main": "a: {b: !name:torch.optim.AdamW {rl: 3}}\n"}, ["a.b (AdamW) has no setting 'rl'"]),
        ({"main": "a: !include:b.yaml\n"}, ["a includes a file", "extends: FILE"]),
    ],
)
def test_a_file_that_cannot_be(write, texts, words):
    with pytest.raises(UserError) as caught:
        compose(write(**texts))
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(MissingError, match=r"no YAML file at .*none\.yaml: run the script inside its recipe folder"):
        compose(tmp_path / "none.yaml")


# ---- What a class takes ----


def test_the_settings_of_a_class_are_those_of_its_dataclass_and_of_its_signature():
    compact = settings_taken_by("interpretability.classifiers.compact.CompactClassifier")
    assert {"labels": REQUIRED, "frontend": None, "task": "single", "dropout": 0.2}.items() <= compact.items()
    vit = settings_taken_by("interpretability.classifiers.vit.ViTClassifier.from_pretrained")
    assert {"source": REQUIRED, "pooling": "mean", "image_frames": 431}.items() <= vit.items()
    assert settings_taken_by("collections.OrderedDict") is None  # takes anything
    assert settings_taken_by("no.such.thing") is None


def test_what_the_job_gives_is_no_setting_of_the_yaml(write):
    path = write(main="classifier: !name:interpretability.classifiers.compact.CompactClassifier\n")
    names = {key.name for key in list_keys(compose(path))}
    assert "classifier.dropout" in names
    assert not {"classifier.labels", "classifier.frontend"} & names
    with pytest.raises(UserError, match="has no setting 'labels'"):
        compose(path, {"classifier.labels": "[a]"})
