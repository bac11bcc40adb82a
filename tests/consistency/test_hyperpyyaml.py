"""The rules of HyperPyYAML that the recipes rely on, and that our YAMLs keep to them.

The first part tests the library: a version that behaves in another way should be noticed here, and not by a user whose
override had no effect. The second part tests every YAML of the repository.
"""

import collections
import inspect
import pydoc
import random
import re
from pathlib import Path

import pytest
import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml

from interpretability.errors import UserError
from interpretability.training.recipe import load_recipe

REPOSITORY = Path(__file__).resolve().parents[2]
FRAGMENTS = sorted((REPOSITORY / "hparams").rglob("*.yaml"))
RECIPES = sorted((REPOSITORY / "recipes").glob("*/hparams/*.yaml"))
YAMLS = FRAGMENTS + RECIPES

INCLUDE = "!include:"
MAX_LINES = 75

#: Physical quantities: what their unit may be called, in the key or in the comment beside it.
UNITS = {
    "cap": ("nats",),
    "clip_seconds": ("seconds",),
    "crop_seconds": ("seconds",),
    "frequency_mask_bins": ("bins",),
    "hop_length_ms": ("ms",),
    "image_frames": ("frames",),
    "max_frames": ("frames",),
    "max_length": ("frames",),
    "n_fft": ("samples",),
    "sample_rate": ("Hz",),
    "snr_db": ("dB",),
    "time_mask_frames": ("frames",),
    "time_shift": ("share",),
    "win_length_ms": ("ms",),
}
#: Names of which a number needs an entry above.
PHYSICAL = re.compile(r"(^|_)(rate|seconds|ms|hz|khz|db|decibels|n_fft|samples|frames|bins|length|cap|shift)(_|$)")


def name_of(path: Path) -> str:
    """Name a YAML in the output of pytest."""
    return str(path.relative_to(REPOSITORY))


each_yaml = pytest.mark.parametrize("path", YAMLS, ids=name_of)
each_recipe = pytest.mark.parametrize("path", RECIPES, ids=name_of)


# -------------------------------------------------------------------------------------------------- the library


@pytest.fixture
def load(tmp_path):
    """Write the given files, load ``main.yaml`` with overrides."""

    def write_and_load(overrides=None, **files: str):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        with open(tmp_path / "main.yaml", encoding="utf-8") as stream:
            return load_hyperpyyaml(stream, overrides)

    return write_and_load


FRAGMENT = """
size: !PLACEHOLDER
other: 1
thing: !new:collections.Counter
    a: !ref <size>
"""


def test_an_include_with_a_body_is_overridden_by_the_body_and_from_outside(load):
    files = {"main": "part: !include:part.yaml\n    size: 3\n", "part": FRAGMENT}
    assert load(**files)["part"] == {"size": 3, "other": 1, "thing": {"a": 3}}
    assert load("part: {size: 4, other: 5}", **files)["part"] == {"size": 4, "other": 5, "thing": {"a": 4}}


def test_an_include_without_a_body_cannot_be_overridden_from_outside(load):
    files = {"main": "part: !include:part.yaml\n", "part": "other: 1\n"}
    assert load(**files) == {"part": {"other": 1}}
    with pytest.raises(ValueError, match="structure of the overrides"):
        load("part: {other: 5}", **files)


def test_a_root_include_does_not_work(load):
    with pytest.raises(ruamel.yaml.constructor.ConstructorError, match="could not determine a constructor"):
        load(main="!include:part.yaml\nown: 1\n", part="other: 1\n")


def test_a_merged_include_drops_the_file_in_silence(load):
    assert load(main="<<: !include:part.yaml {other: 2}\nown: 1\n", part="other: 1\nthird: 3\n") == {
        "own": 1,
        "other": 2,
    }


def test_paths_are_relative_to_the_including_file(load):
    files = {"main": "outer: !include:deep/outer.yaml\n    x: 1\n", "deep__inner": "y: 2\n"}
    files["deep__outer"] = "x: 0\ninner: !include:inner.yaml\n    y: !ref <x>\n"
    assert load(**files)["outer"]["inner"] == {"y": 1}


def test_scalars_may_be_passed_into_an_include(load):
    files = {"main": "n: 2\npart: !include:part.yaml\n    size: !ref <n>\n", "part": FRAGMENT}
    assert load(**files)["part"]["thing"] == {"a": 2}
    assert load("n: 9", **files)["part"]["thing"] == {"a": 9}


def test_objects_flow_out_of_an_include(load):
    loaded = load(main="part: !include:part.yaml\n    size: 3\nmodules:\n    it: !ref <part[thing]>\n", part=FRAGMENT)
    assert loaded["modules"]["it"] is loaded["part"]["thing"]


def test_an_object_passed_into_an_include_becomes_a_second_one(load):
    loaded = load(
        main="thing: !new:collections.Counter\n    a: 1\npart: !include:part.yaml\n    given: !ref <thing>\n",
        part="other: 1\n",
    )
    assert loaded["part"]["given"] == loaded["thing"]
    assert loaded["part"]["given"] is not loaded["thing"]


def test_unknown_keys_are_refused_at_the_root_only(load):
    files = {"main": "part: !include:part.yaml\n    nonsense: 3\n", "part": "other: 1\n"}
    assert load(**files)["part"] == {"other": 1, "nonsense": 3}
    with pytest.raises(KeyError, match="typo"):
        load("typo: 1", **files)


def test_a_placeholder_that_nobody_fills_is_an_error(load):
    with pytest.raises(ValueError, match="'size' is a !PLACEHOLDER"):
        load(main="part: !include:part.yaml\n    other: 3\n", part=FRAGMENT)


def test_a_slash_divides_numbers_and_joins_text(load):
    loaded = load(main="a: 6\nb: 3\ntext: x\ndivided: !ref <a>/<b>\njoined: !ref x/<a>/<b>\nalso: !ref <text>/<a>\n")
    assert loaded["divided"] == 2
    assert loaded["joined"] == "x/6/3"
    assert loaded["also"] == "x/6"


def test_another_class_laid_over_an_object_does_not_replace_it(load):
    files = {
        "main": "part: !include:part.yaml\n    thing: !new:collections.OrderedDict\n        b: 2\n",
        "part": "thing: !new:collections.Counter\n    a: 1\n",
    }
    thing = load(**files)["part"]["thing"]
    assert type(thing) is collections.Counter
    assert thing == {"a": 1, "b": 2}


def test_loading_calls_everything_in_order(load):
    def drawn(seed: str, draw: str) -> float:
        return load(main="\n".join(line for line in (seed, draw) if line))["drawn"]

    seed, draw = "seeded: !apply:random.seed [7]", "drawn: !apply:random.random []"
    state = random.getstate()
    try:
        assert drawn(seed, draw) == drawn(seed, draw) == random.Random(7).random()
        assert drawn(draw, seed) != drawn(seed, draw), "the seed comes too late after what it should seed"
    finally:
        random.setstate(state)


# ------------------------------------------------------------------------------------------------------ our YAMLs


def read(path: Path):
    """Return the YAML as it is written, tags and all."""
    return ruamel.yaml.YAML().load(path.read_text(encoding="utf-8"))


def tag_of(node) -> str:
    """Return the tag of a node, "" if it has none."""
    return (getattr(getattr(node, "tag", None), "value", None) or "") if not isinstance(node, str) else ""


def nodes(node, place: tuple = ()):
    """Yield (place, node) of everything below and including a node."""
    yield place, node
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, member in members:
        yield from nodes(member, (*place, key))


def includes(path: Path) -> list[tuple]:
    """Return (key, included file, body) of every include of a YAML."""
    return [
        (place, (path.parent / tag_of(node).removeprefix(INCLUDE)).resolve(), node)
        for place, node in nodes(read(path))
        if tag_of(node).startswith(INCLUDE)
    ]


def is_text(name: str, scope: dict, outer: dict | None = None) -> bool:
    """Whether a key of a YAML holds text; a reference in the body of an include is one to the including file."""
    node = scope[name]
    if isinstance(node, str) and not tag_of(node):
        return True
    if tag_of(node) != "!ref":
        return False
    first = re.match(r"<([^<>\[\]]+)>", node.value)
    if first is None:
        return True
    return is_text(first[1], scope if outer is None else outer)


def dividing(content: dict, known: dict[str, bool]) -> list[str]:
    """Return the references with a slash that do not begin with text; ``known`` says which keys are text."""
    paths = [node.value for _, node in nodes(content) if tag_of(node) == "!ref" and "/" in node.value]
    first = {path: re.match(r"<([^<>\[\]]+)>", path) for path in paths}
    return [path for path in paths if first[path] and not known.get(first[path][1], False)]


def test_there_are_yamls_to_test():
    assert FRAGMENTS
    assert RECIPES


@each_yaml
def test_every_include_is_under_a_key_and_has_a_body(path):
    for place, included, body in includes(path):
        assert place, f"{path}: include at the root"
        assert isinstance(body, dict), f"{path}: the include of {place[0]} has no body"
        assert body, f"{path}: the include of {place[0]} has no body"
        assert included.is_file(), f"{path}: there is no {included}"
        assert included in FRAGMENTS, f"{path}: {included} is no shared fragment"


@each_yaml
def test_nothing_is_merged(path):
    assert not re.search(r"^\s*<<\s*:", path.read_text(encoding="utf-8"), flags=re.MULTILINE)


@each_yaml
def test_the_body_of_an_include_has_only_keys_of_the_fragment(path):
    for place, included, body in includes(path):
        unknown = body.keys() - read(included).keys()
        assert not unknown, f"{path}: {place[0]} gives {sorted(unknown)}, which {included.name} does not have"


@each_yaml
def test_every_placeholder_of_a_fragment_is_given(path):
    for place, included, body in includes(path):
        inputs = {key for key, node in read(included).items() if tag_of(node) == "!PLACEHOLDER"}
        assert inputs <= body.keys(), f"{path}: {place[0]} lacks {sorted(inputs - body.keys())}"


@each_yaml
def test_no_object_is_passed_into_an_include(path):
    content = read(path)
    for place, _, body in includes(path):
        for key, node in body.items():
            for inner, value in nodes(node, (*place, key)):
                assert not tag_of(value).startswith(("!new:", "!apply:", "!name:")), f"{path}: an object in {inner}"
                for name in re.findall(r"<(\w+)", value.value) if tag_of(value) == "!ref" else ():
                    given = tag_of(content[name])
                    assert given in ("", "!ref", "!PLACEHOLDER"), f"{path}: {inner} gives {name}, which is an object"


@each_yaml
def test_references_name_keys_that_exist(path):
    content = read(path)
    for place, node in nodes(content):
        for name in re.findall(r"<(\w+)", node.value) if tag_of(node) == "!ref" else ():
            assert name in content, f"{path}: {place} refers to {name}"


@each_recipe
def test_paths_begin_with_text(path):
    recipe = read(path)
    assert dividing(recipe, {key: is_text(key, recipe) for key in recipe}) == []
    for _, included, body in includes(path):
        fragment = read(included)
        own = {key: node for key, node in fragment.items() if key not in body}
        # What the body gives is looked up in the recipe, everything else in the fragment.
        known = {key: is_text(key, fragment) for key in own} | {key: is_text(key, body, recipe) for key in body}
        assert dividing(own, known) == [], f"{path}: {included.name}"


@each_recipe
def test_the_seed_comes_first(path):
    recipe = read(path)
    assert list(recipe)[:2] == ["seed", "__set_seed"]
    assert tag_of(recipe["__set_seed"]) == "!apply:speechbrain.utils.seed_everything"
    assert [node.value for node in recipe["__set_seed"]] == ["<seed>"]


@each_recipe
def test_a_recipe_is_only_choices(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_LINES
    assert lines[0].startswith("# "), "the first line says what it is"


@each_yaml
def test_physical_quantities_carry_their_unit(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        found = re.match(r"\s*(\w+):\s*(\S+)\s*(?:#\s*(.*))?$", line)
        if found is None:
            continue
        key, value, comment = found[1], found[2], found[3] or ""
        if not re.fullmatch(r"[-+]?\d[\d.e+-]*|!PLACEHOLDER", value):
            continue
        if key in UNITS:
            named = any(re.search(rf"(^|[\W_]){unit}($|[\W_])", f"{key} {comment}") for unit in UNITS[key])
            assert named, f"{path}: {line.strip()} needs its unit in a comment: {' or '.join(UNITS[key])}"
        else:
            assert not PHYSICAL.search(key), f"{path}: is {key} a physical quantity? Give it a unit here and there"


@each_yaml
def test_classes_and_functions_exist_and_take_these_arguments(path):
    for place, node in nodes(read(path)):
        kind, _, target = tag_of(node).partition(":")
        if kind not in ("!new", "!name", "!apply"):
            continue
        found = pydoc.locate(target)
        assert callable(found), f"{path}: {place} names {target}, which does not exist"
        parameters = inspect.signature(found).parameters
        if isinstance(node, dict) and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            assert node.keys() <= parameters.keys(), f"{path}: {target} does not take these"


@each_recipe
def test_a_recipe_loads_and_its_text_overrides_reach_the_fragments(path, tmp_path):
    trained = "training" in read(path)  # a method that has nothing to train has no epochs either
    overrides = {"data_folder": "somewhere", "output_folder": str(tmp_path / "out")}
    loaded = load_recipe(path, overrides | ({"number_of_epochs": 3} if trained else {}))
    assert loaded["prepare"].keywords["data_folder"] == "somewhere"
    if trained:
        assert loaded["training"]["epoch_counter"].limit == 3
        # A dictionary is trained in a folder of its own, inside that of the method that is evaluated with it.
        own = "dictionary" if path.stem == "nmf" else ""
        assert Path(loaded["training"]["checkpointer"].checkpoints_dir) == tmp_path / "out" / own / "save"


def test_an_override_that_a_fragment_does_not_have_is_refused(tmp_path):
    """HyperPyYAML accepts it in silence (see above), so the runner has to look."""
    path = REPOSITORY / "recipes" / "ESC50" / "hparams" / "piq.yaml"
    overrides = {"data_folder": "somewhere", "output_folder": str(tmp_path)}
    with pytest.raises(UserError, match="codebok_size"):
        load_recipe(path, {**overrides, "method": {"codebok_size": 3}})


@pytest.mark.parametrize("name", sorted({path.name for path in RECIPES}))
def test_recipes_of_one_name_differ_in_choices_and_not_in_the_rest(name):
    """The same method in two recipes has the same keys, beyond those of the data."""
    of_the_data = {"esc10_only", "train_folds", "valid_folds", "test_folds"}
    of_the_data |= {"data_seed", "n_train", "n_valid", "n_test", "shortcut_class"}
    keys = [read(path).keys() - of_the_data for path in RECIPES if path.name == name]
    assert all(other == keys[0] for other in keys)
