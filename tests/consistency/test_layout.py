"""How the repository is laid out: thin scripts, used fragments, mirrored tests, one-way dependencies, clean files."""

import ast
import graphlib
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "interpretability"
RECIPES = REPOSITORY / "recipes"

# --------------------------------------------------------------------------------------------- recipes and hparams

MAX_SCRIPT_LINES = 15


def test_scripts_are_identical_in_all_recipes():
    by_name: dict[str, dict[str, bytes]] = {}
    for path in RECIPES.glob("*/*.py"):
        by_name.setdefault(path.name, {})[path.parent.name] = path.read_bytes()
    assert by_name
    folders = {path.parents[1].name for path in RECIPES.glob("*/hparams/*.yaml")}
    for name, copies in by_name.items():
        assert copies.keys() == folders, f"{name} is not in every recipe"
        assert len(set(copies.values())) == 1, f"{name} differs between {sorted(copies)}"


def test_scripts_are_thin():
    scripts = list(RECIPES.glob("*/*.py"))
    assert scripts
    for path in scripts:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_SCRIPT_LINES, path
        assert imports_of(path) == {"sys", "interpretability.training.runner"}, path


# ------------------------------------------------------------------------------------------------- tests mirror code


def modules() -> list[Path]:
    """Return the modules of the package, relative to it."""
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", [m for m in modules() if m.name != "__init__.py"], ids=str)
def test_every_module_has_its_test(module):
    test = REPOSITORY / "tests" / module.parent / f"test_{module.name}"
    assert test.is_file(), f"interpretability/{module} has no {test.relative_to(REPOSITORY)}"


@pytest.mark.parametrize("module", [m for m in modules() if m.name == "__init__.py"], ids=str)
def test_packages_hold_no_code_of_their_own(module):
    """``__init__.py`` only documents and re-exports, so it needs no test."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    for node in tree.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert is_docstring or isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign)), (
            f"interpretability/{module}, line {node.lineno}: code belongs in a module of its own"
        )


# ----------------------------------------------------------------------------------------------------- dependencies

#: Unit of the package (a module or a folder at its top) -> the units it may import. Downwards only.
MAY_IMPORT = {
    "__init__": {"exports"},
    "blocks": set(),
    "names": set(),
    "processes": set(),
    "errors": {"names"},
    "exports": set(),
    "command_line": {"errors", "names", "processes"},
    "files": {"errors", "reading"},
    "hub": {"errors", "files", "names"},
    "journal": {"files"},
    "exported": {"errors", "files", "hub", "names", "reading", "safe_yaml", "settings", "weight_files"},
    "settings": {"errors"},
    "safe_yaml": {"errors"},
    "weight_files": {"errors"},
    "weights": {"errors", "files", "weight_files"},
    "budget": {"errors", "weight_files"},
    "reading": {"errors", "settings"},
    "resampling": set(),
    "transfer": set(),
    "frontend": {"errors", "lengths", "resampling", "settings"},
    "grids": {"lengths"},
    "lengths": set(),
    "probabilities": set(),
    "targets": {"errors"},
    "metrics": {"errors", "frontend", "probabilities"},
    "data": {"errors", "files", "frontend", "names", "reading", "resampling", "settings"},
    "matched": {"errors", "frontend", "metrics"},
    "truth": {"errors", "frontend", "metrics"},
    "classifiers": {
        "blocks",
        "budget",
        "data",
        "errors",
        "exported",
        "files",
        "frontend",
        "grids",
        "hub",
        "lengths",
        "names",
        "probabilities",
        "reading",
        "safe_yaml",
        "settings",
        "targets",
        "transfer",
        "weight_files",
        "weights",
    },
    "networks": {"blocks", "classifiers", "dictionary", "errors", "frontend", "grids", "lengths"},
    "dictionary": {"errors", "files", "frontend", "hub", "lengths", "reading", "settings", "weight_files"},
    "events": {"frontend", "metrics", "probabilities", "settings"},
    "explanation": {
        "classifiers",
        "data",
        "dictionary",
        "errors",
        "events",
        "files",
        "frontend",
        "matched",
        "metrics",
        "names",
        "probabilities",
        "report",
    },
    "report": {
        "errors",
        "events",
        "files",
        "frontend",
        "journal",
        "metrics",
        "names",
        "processes",
        "reading",
        "resampling",
        "settings",
        "targets",
    },
    "methods": {
        "budget",
        "classifiers",
        "data",
        "dictionary",
        "errors",
        "explanation",
        "exported",
        "files",
        "frontend",
        "grids",
        "hub",
        "lengths",
        "matched",
        "metrics",
        "networks",
        "probabilities",
        "reading",
        "settings",
        "transfer",
        "weight_files",
        "weights",
    },
    "cases": {"classifiers", "data", "errors", "metrics", "predictions", "probabilities"},
    "evaluation": {
        "cases",
        "classifiers",
        "data",
        "errors",
        "explanation",
        "files",
        "frontend",
        "journal",
        "matched",
        "methods",
        "metrics",
        "processes",
        "report",
        "second_opinion",
        "targets",
        "truth",
    },
    "second_opinion": {"classifiers", "metrics"},
    "predictions": {"classifiers", "data", "errors", "files", "names", "probabilities", "reading"},
    "explaining": {"classifiers", "data", "dictionary", "errors", "explanation", "frontend", "methods"},
    "recordings": {
        "classifiers",
        "data",
        "errors",
        "events",
        "explaining",
        "explanation",
        "files",
        "frontend",
        "journal",
        "methods",
        "names",
        "probabilities",
        "reading",
        "report",
        "weights",
    },
    "interface": {
        "classifiers",
        "data",
        "errors",
        "explaining",
        "explanation",
        "files",
        "methods",
        "probabilities",
        "reading",
        "weight_files",
        "weights",
    },
    "publishing": {
        "classifiers",
        "data",
        "dictionary",
        "errors",
        "events",
        "explaining",
        "explanation",
        "exported",
        "files",
        "frontend",
        "hub",
        "interface",
        "methods",
        "metrics",
        "names",
        "networks",
        "reading",
        "report",
        "safe_yaml",
        "weights",
    },
    "published": {
        "budget",
        "classifiers",
        "errors",
        "exported",
        "files",
        "methods",
        "reading",
        "safe_yaml",
        "weight_files",
        "weights",
    },
    "commands": {
        "classifiers",
        "command_line",
        "data",
        "errors",
        "events",
        "explaining",
        "explanation",
        "exported",
        "files",
        "frontend",
        "hub",
        "matched",
        "methods",
        "metrics",
        "names",
        "predictions",
        "published",
        "publishing",
        "reading",
        "recordings",
        "report",
        "training",
    },
    "training": {
        "cases",
        "classifiers",
        "command_line",
        "data",
        "dictionary",
        "errors",
        "events",
        "evaluation",
        "explaining",
        "explanation",
        "files",
        "frontend",
        "hub",
        "matched",
        "methods",
        "metrics",
        "names",
        "predictions",
        "probabilities",
        "processes",
        "reading",
        "report",
        "safe_yaml",
        "settings",
        "transfer",
        "weights",
    },
}

#: Imports upwards or inside a function, of our own modules: (module, imported) -> why.
EXCEPTIONS = {
    ("explanation.py", "report.figures"): "Matplotlib is slow to import, and seldom needed",
    ("explanation.py", "report.notebook"): "draws figures",
}

#: Modules of methods/ that hold what methods share; each may import those before it.
SHARED_BY_METHODS = (
    "base",
    "objectives",
    "baselines",
    "optimiser",
    "forms",
    "perturbation",
    "patchwise",
    "further",
    "seeding",
    "nonlinearities",
    "class_activation",
    "attributions",
)
#: The registry: it knows every method, and no method knows it.
REGISTRY_OF_METHODS = ("published", "folder", "__init__")

#: Modules of classifiers/ that hold what classifiers share; each may import those before it.
SHARED_BY_CLASSIFIERS = (
    "card",
    "gradient",
    "frames",
    "observed",
    "base",
    "targeted",
    "calls",
    "check",
    "outputs",
    "hooks",
    "importing",
    "trust",
    "attention",
    "layers",
    "extractors",
    "image",
    "waveform",
    "families",
    "graph_file",
    "onnx_file",
    "tflite_file",
    "features",
    "module",
    "black_box",
)
#: Those that know every classifier, and that no classifier knows.
REGISTRY_OF_CLASSIFIERS = ("published", "folder", "sources", "second", "__init__")


def imports_of(path: Path, top_level_only: bool = False) -> set[str]:
    """Return the modules that a file imports.

    ``from interpretability.metrics import suite`` counts as ``interpretability.metrics.suite`` where that is a module.
    ``top_level_only`` leaves out imports inside functions and under ``if TYPE_CHECKING``.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                names.add(name if (REPOSITORY / f"{name.replace('.', '/')}.py").is_file() else node.module)
    return names


def ours(names: set[str]) -> set[str]:
    """Return the modules of the package, without its name in front."""
    return {name.removeprefix("interpretability.") for name in names if name.startswith("interpretability.")}


def unit(module: Path | str) -> str:
    """Return the unit of a path relative to the package, or of a dotted name in it."""
    return module.parts[0].removesuffix(".py") if isinstance(module, Path) else module.split(".")[0]


def test_every_unit_has_its_place_in_the_table():
    assert {unit(module) for module in modules()} == MAY_IMPORT.keys()


def test_the_table_runs_one_way():
    order = list(graphlib.TopologicalSorter(MAY_IMPORT).static_order())  # raises on a circle
    ranks = [order.index(name) for name in ("frontend", "classifiers", "methods", "evaluation", "training")]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("module", modules(), ids=str)
def test_dependencies_run_downwards(module):
    above = {
        name
        for name in ours(imports_of(PACKAGE / module))
        if unit(name) != unit(module) and (str(module), name) not in EXCEPTIONS
        if unit(name) not in MAY_IMPORT.get(unit(module), set())
    }
    assert not above, f"interpretability/{module} imports {sorted(above)}, which stand above it"


@pytest.mark.parametrize("module", modules(), ids=str)
def test_lazy_imports_of_our_own_modules_are_listed(module):
    path = PACKAGE / module
    lazy = ours(imports_of(path)) - ours(imports_of(path, top_level_only=True))
    unlisted = {name for name in lazy if (str(module), name) not in EXCEPTIONS}
    assert not unlisted, f"interpretability/{module} imports {sorted(unlisted)} inside a function"


def test_the_exceptions_are_all_in_use_and_lazy():
    for module, name in EXCEPTIONS:
        path = PACKAGE / module
        assert name in ours(imports_of(path)), f"{module} does not import {name} any more: take it off the list"
        assert name not in ours(imports_of(path, top_level_only=True)), f"{module} imports {name} at its top"


def test_no_modules_import_each_other_in_a_circle():
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in modules()}
    graph = {name: ours(imports_of(PACKAGE / path, top_level_only=True)) - {name} for name, path in names.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises on a circle


def test_methods_do_not_import_each_other():
    for path in (PACKAGE / "methods").glob("*.py"):
        if path.stem in REGISTRY_OF_METHODS:
            continue
        siblings = {name.split(".")[1] for name in ours(imports_of(path)) if name.startswith("methods.")}
        allowed = set(SHARED_BY_METHODS)
        if path.stem in SHARED_BY_METHODS:
            allowed = set(SHARED_BY_METHODS[: SHARED_BY_METHODS.index(path.stem)])
        assert siblings <= allowed, f"methods/{path.name} imports {sorted(siblings - allowed)}"
        assert "methods" not in ours(imports_of(path)), f"methods/{path.name} imports the registry"


def test_classifiers_do_not_import_each_other():
    for path in (PACKAGE / "classifiers").glob("*.py"):
        if path.stem not in REGISTRY_OF_CLASSIFIERS:
            siblings = {name.partition(".")[2] for name in ours(imports_of(path)) if unit(name) == "classifiers"}
            allowed = set(SHARED_BY_CLASSIFIERS)
            if path.stem in SHARED_BY_CLASSIFIERS:
                allowed = set(SHARED_BY_CLASSIFIERS[: SHARED_BY_CLASSIFIERS.index(path.stem)])
            assert siblings <= allowed, f"classifiers/{path.name} imports {sorted(siblings - allowed)}"


def test_only_the_front_end_has_an_inverse_transform():
    inverse = {"istft", "ISTFT", "InverseSpectrogram", "GriffinLim", "inverse_spectrogram", "griffinlim"}
    for module in modules():
        tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.alias)}
        assert str(module) == "frontend.py" or not names & inverse, f"interpretability/{module}: {names & inverse}"


def test_only_the_module_of_tables_writes_markdown():
    for path in [*(PACKAGE / module for module in modules()), *(REPOSITORY / "tools").glob("*.py")]:
        if path != PACKAGE / "report" / "tables.py":
            text = path.read_text(encoding="utf-8")
            assert "---:" not in text, f"{path.relative_to(REPOSITORY)} makes a table"
            assert "**\\n" not in text, f"{path.relative_to(REPOSITORY)} makes a title"


def test_nothing_imports_a_script():
    scripts = [*RECIPES.glob("*/*.py"), *(REPOSITORY / "tools").glob("*.py")]
    names = {path.stem for path in scripts} | {"recipes", "tools"}
    for path in [*(PACKAGE / module for module in modules()), *scripts]:
        imported = {name.split(".")[0] for name in imports_of(path)}
        assert not imported & names, f"{path.relative_to(REPOSITORY)} imports a script: {sorted(imported & names)}"


# ------------------------------------------------------------------------------------------------------------ files

MAX_BYTES = 500_000
AUDIO = {".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"}
WEIGHTS = {".bin", ".ckpt", ".h5", ".npy", ".npz", ".onnx", ".pkl", ".pt", ".pth", ".safetensors"}
#: First bytes of the same, whatever the name: RIFF, Ogg, FLAC, MP3 with tags, zip (PyTorch), HDF5, NumPy, pickle.
MAGIC = (b"RIFF", b"OggS", b"fLaC", b"ID3", b"PK\x03\x04", b"\x89HDF", b"\x93NUMPY", b"\x80\x02", b"\x80\x04")
#: Put together here, so that this file does not hold them itself.
MACHINE = re.compile(
    r"(?<![\w.])/(?:" + "|".join(("wo" + "rk/", "ro" + "ot/", "ho" + "me/", "Us" + "ers/", "tm" + "p/w/")) + ")"
)


def repository_files() -> list[Path]:
    """Return the files that git tracks, or would if everything were added."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return [path for path in (REPOSITORY / name for name in listing.split("\0") if name) if path.is_file()]


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """The files of the repository; skipped where it is no git repository (an unpacked archive)."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("no git repository")
    return repository_files()


def test_the_repository_holds_no_audio_no_weights_and_nothing_large(tracked):
    assert REPOSITORY / "pyproject.toml" in tracked
    for path in tracked:
        assert path.suffix.lower() not in AUDIO | WEIGHTS, path
        with open(path, "rb") as stream:
            assert not stream.read(8).startswith(MAGIC), f"{path} is audio, weights or an archive by its content"
        assert path.stat().st_size <= MAX_BYTES, f"{path} has {path.stat().st_size} bytes"


def test_no_text_names_a_path_of_one_machine(tracked):
    for path in tracked:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        for number, line in enumerate(text.splitlines(), 1):
            assert not MACHINE.search(line), f"{path.relative_to(REPOSITORY)}, line {number}: {line.strip()}"


def test_the_pattern_for_paths_of_a_machine_finds_them():
    for bad in ("/ro" + "ot/x", "cd /wo" + "rk/main", '"/ho' + 'me/me/data"'):
        assert MACHINE.search(bad), bad
    for fine in ("network/x", "../wo" + "rk/x", "/path/to/ESC-50", "/tm" + "p/x"):
        assert not MACHINE.search(fine), fine
