"""The rules of HyperPyYAML that the recipes rely on, and that our YAMLs keep to them.

The first part tests the library: a version that behaves in another way should be noticed here, and not by a user whose
override had no effect. The second part tests every YAML of the repository.
"""

import functools
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml

from interpretability.training.composition import compose, list_yamls, settings_taken_by
from interpretability.training.recipe import load

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = sorted((REPOSITORY / "hparams").rglob("*.yaml"))
OF_DATA = sorted((REPOSITORY / "recipes").glob("*/hparams/*.yaml"))
YAMLS = SHARED + OF_DATA
EXTENDED = {
    (path.parent / name).resolve()
    for path in YAMLS
    for name in re.findall(r"[\w./]+\.yaml", "".join(re.findall("^extends:.*$", path.read_text("utf-8"), re.MULTILINE)))
}


@functools.cache
def composed(path: Path) -> str:
    """Return the whole text of a YAML, placeholders and all."""
    return compose(path, complete=False)


#: What others extend and is never run alone.
PARTS = ("augmentation.yaml", "data.yaml")
#: Those that are run: they have something to train or to evaluate. Some are shared files alone, over the data's.
RECIPES = [
    path.with_name(name)
    for path in OF_DATA
    if path.name == "data.yaml"
    for name in list_yamls(path.parent)
    if name not in PARTS
]

#: Of a YAML, without comments, blank lines and those that hand over a key to a function.
MAX_LINES = 20

#: Physical quantities: what their unit may be called, in the key or in the comment beside it.
UNITS = {
    "cap": ("nats",),
    "clip_seconds": ("seconds",),
    "crop_seconds": ("seconds",),
    "batch_seconds": ("seconds",),
    "frequency_mask_bins": ("bins",),
    "image_frames": ("frames",),
    "max_length": ("frames",),
    "num_mel_bins": ("bins",),
    "sample_rate": ("Hz",),
    "time_mask_frames": ("frames",),
    "time_shift": ("share",),
}
#: Names of which a number needs an entry above.
PHYSICAL = re.compile(r"(^|_)(rate|seconds|ms|hz|khz|db|decibels|n_fft|samples|frames|bins|length|cap|shift)(_|$)")


def name_of(path: Path) -> str:
    """Name a YAML in the output of pytest."""
    return str(path.relative_to(REPOSITORY))


each_yaml = pytest.mark.parametrize("path", YAMLS, ids=name_of)
each_recipe = pytest.mark.parametrize("path", RECIPES, ids=name_of)


# -------------------------------------------------------------------------------------------------- the library


def test_a_slash_divides_numbers_and_joins_text():
    loaded = load_hyperpyyaml(
        "a: 6\nb: 3\ntext: x\ndivided: !ref <a>/<b>\njoined: !ref x/<a>/<b>\nalso: !ref <text>/<a>\n"
    )
    assert loaded["divided"] == 2
    assert loaded["joined"] == "x/6/3"
    assert loaded["also"] == "x/6"


def test_a_reference_to_a_later_reference_is_not_resolved():
    """So the composition puts sections last."""
    with pytest.raises(ruamel.yaml.constructor.ConstructorError, match="!ref"):
        load_hyperpyyaml("section: {folder: !ref <folder>}\nfolder: !ref data/<seed>\nseed: 7\n")


def test_loading_calls_everything_in_order():
    def drawn(seed: str, draw: str) -> float:
        return load_hyperpyyaml("\n".join((seed, draw)))["drawn"]

    seed, draw = "seeded: !apply:random.seed [7]", "drawn: !apply:random.random []"
    state = random.getstate()
    try:
        assert drawn(seed, draw) == drawn(seed, draw) == random.Random(7).random()
        assert drawn(draw, seed) != drawn(seed, draw), "the seed comes too late after what it should seed"
    finally:
        random.setstate(state)


# ------------------------------------------------------------------------------------------------------ our YAMLs


def read(text: str):
    """Return a YAML as it is written, tags and all."""
    return ruamel.yaml.YAML().load(text)


def tag_of(node) -> str:
    """Return the tag of a node, "" if it has none."""
    return (getattr(getattr(node, "tag", None), "value", None) or "") if not isinstance(node, str) else ""


def nodes(node, place: tuple = ()):
    """Yield (place, node) of everything below and including a node."""
    yield place, node
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, member in members:
        yield from nodes(member, (*place, key))


def leaves(node, place: tuple = ()) -> dict[tuple, tuple]:
    """Return place -> (tag, value) of everything in a tree that is no mapping; a tag of a mapping counts, too."""
    if not isinstance(node, dict):
        return {place: (tag_of(node), getattr(node, "value", node))}
    tag = {place: (tag_of(node), None)} if tag_of(node) else {}
    return tag | {key: leaf for name in node for key, leaf in leaves(node[name], (*place, name)).items()}


def without_extends(path: Path) -> dict:
    """Return the content of a YAML alone."""
    return {name: node for name, node in read(path.read_text("utf-8")).items() if name != "extends"}


def beneath(path: Path, tmp_path: Path) -> dict:
    """Return the composition of what a YAML extends."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line.startswith("extends:")]
    here = tmp_path / "beneath.yaml"
    here.write_text("\n".join(re.sub(r"[\w./]+\.yaml", lambda m: str(path.parent / m[0]), line) for line in lines))
    return read(compose(here, complete=False)) if lines else {}


def test_there_are_yamls_to_test():
    assert SHARED
    assert len(RECIPES) == 136
    assert {path for path in OF_DATA if path.name != "data.yaml"} - set(RECIPES) <= EXTENDED


def test_every_shared_yaml_is_extended_or_run():
    run = {path for of_data in OF_DATA for path in list_yamls(of_data.parent).values()}
    assert set(SHARED) - EXTENDED - run == set()


def test_no_yaml_of_a_data_set_is_without_a_choice():
    """One that only lays a shared file over the data's is not needed: that is what its name stands for."""
    for path in OF_DATA:
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]
        shared = path.name.removeprefix("classifier_")
        implied = re.fullmatch(rf"extends: \[data\.yaml, [./]+/hparams/(methods|classifiers)/{shared}\]", lines[0])
        assert len(lines) > 1 or not implied, path


@each_yaml
def test_nothing_is_merged(path):
    assert not re.search(r"^\s*<<\s*:", path.read_text(encoding="utf-8"), flags=re.MULTILINE)


@each_yaml
def test_a_yaml_is_only_choices(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# "), "the first line says what it is"
    handed_over = re.compile(r"\s*(\w+): !ref <\1>")
    choices = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    assert len([line for line in choices if not handed_over.fullmatch(line)]) <= MAX_LINES


@each_yaml
@pytest.mark.slow
def test_no_yaml_repeats_a_default(path, tmp_path):
    whole, known = read(composed(path)), leaves(beneath(path, tmp_path))
    for place, leaf in leaves(without_extends(path)).items():
        name, is_class = ".".join(map(str, place)), leaf[0].startswith(("!new:", "!name:"))
        assert leaf != known.get(place) or is_class, f"{name}: {leaf[1]} stands in what it extends"
        owner = functools.reduce(lambda node, part: node[part], place[:-1], whole)
        kind, _, target = tag_of(owner).partition(":")
        if kind in ("!new", "!name") and place not in known and not leaf[0]:
            assert leaf[1] != (settings_taken_by(target) or {}).get(place[-1]), f"{name}: {leaf[1]} is the default"


@pytest.mark.parametrize("name", sorted({path.name for path in OF_DATA}))
def test_nothing_is_said_in_the_yamls_of_two_data_sets(name):
    """What they have in common belongs to a shared YAML."""
    earlier: dict[tuple, tuple] = {}
    for path in OF_DATA:
        if path.name == name:
            here = leaves(without_extends(path))
            assert not [place for place in here if earlier.get(place) == here[place] and here[place][0] != "!ref"]
            earlier |= here


@pytest.mark.parametrize("name", sorted({path.name for path in RECIPES}))
def test_recipes_of_one_name_have_the_same_keys_beyond_those_of_the_data(name):
    paths = [path for path in RECIPES if path.name == name]
    assert {path.parents[1].name for path in paths} == {path.parents[1].name for path in RECIPES}
    of_data = {key for path in OF_DATA if path.name == "data.yaml" for key in without_extends(path)}
    keys = [read(composed(path)).keys() - of_data for path in paths]
    assert all(other == keys[0] for other in keys)


@each_recipe
def test_paths_begin_with_text(path):
    """A reference with a slash between numbers divides them."""
    recipe = read(composed(path))
    for place, node in nodes(recipe):
        first = re.match(r"<(\w+)>.*/", node.value) if tag_of(node) == "!ref" else None
        if first is not None:
            value = recipe[first[1]]
            assert isinstance(value, str) or re.match("[^<]", value.value), f"{place} begins with {first[0]}"


@each_recipe
def test_each_has_something_to_train_or_to_evaluate(path):
    assert {"method", "classifier"} & read(composed(path)).keys()


@each_recipe
def test_the_seed_comes_first(path):
    recipe = read(composed(path))
    assert list(recipe)[:2] == ["seed", "__set_seed"]
    assert tag_of(recipe["__set_seed"]) == "!apply:speechbrain.utils.seed_everything"
    assert [node.value for node in recipe["__set_seed"]] == ["<seed>"]


@each_yaml
def test_physical_quantities_carry_their_unit(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r"\s*(\w+):\s*(\S+)\s*(?:#\s*(.*))?$", line)
        if match is None:
            continue
        key, value, comment = match[1], match[2], match[3] or ""
        if not re.fullmatch(r"[-+]?\d[\d.e+-]*|!PLACEHOLDER|null", value):
            continue
        if key in UNITS:
            named = any(re.search(rf"(^|[\W_]){unit}($|[\W_])", f"{key} {comment}") for unit in UNITS[key])
            assert named, f"{path}: {line.strip()} needs its unit in a comment: {' or '.join(UNITS[key])}"
        else:
            assert not PHYSICAL.search(key), f"{path}: is {key} a physical quantity? Give it a unit here and there"


@each_recipe
@pytest.mark.slow
def test_a_recipe_loads_and_overrides_reach_its_sections(path, tmp_path):
    overrides = {"data_folder": "somewhere", "output_folder": str(tmp_path / "out")}
    trained = "\ntraining:" in composed(path)  # a method that has nothing to train has no epochs either
    loaded = load(compose(path, overrides | ({"number_of_epochs": "3"} if trained else {})), path)
    assert loaded["prepare"].keywords["data_folder"] == "somewhere"
    if trained:
        assert loaded["training"]["epoch_counter"].limit == 3
        # A dictionary is trained in a folder of its own, inside that of the method that is evaluated with it.
        folder = tmp_path / "out" / ("dictionary" if path.stem == "nmf" else "")
        assert Path(loaded["training"]["checkpointer"].checkpoints_dir) == folder / "save"


LOAD = """
import sys
from hyperpyyaml import load_hyperpyyaml
for path in sys.argv[1:]:
    loaded = load_hyperpyyaml(open(path, encoding="utf-8"))
    print(path.rpartition("/")[2], loaded["output_folder"], loaded["prepare"].keywords, *sorted(map(str, loaded)))
"""


@pytest.mark.slow
def test_what_a_run_archives_loads_alone_in_stock_hyperpyyaml_and_can_be_run_again(tmp_path):
    """As a file, from another folder, in a process that has imported nothing of the package."""
    expected, paths = [], []
    for number, path in enumerate(path for path in RECIPES if path.parents[1].name == "Synthetic"):
        text = compose(path, {"data_folder": "somewhere"})
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(text, encoding="utf-8")
        assert compose(paths[-1]) == text
        loaded = load(text, path)
        names = sorted(map(str, loaded))
        expected.append(" ".join([paths[-1].name, loaded["output_folder"], str(loaded["prepare"].keywords), *names]))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LOAD, *map(str, paths)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == expected
