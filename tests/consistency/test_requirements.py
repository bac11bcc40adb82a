"""Everything that is imported is a pinned requirement."""

import ast
import re
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

#: Module -> distribution, where the names differ.
DISTRIBUTIONS = {
    "PIL": "matplotlib",  # which brings it
    "flatbuffers": "ai-edge-litert",  # which brings it
    "hf_xet": "huggingface_hub",  # which brings it, where there is one for the machine
    "hyperpyyaml": "HyperPyYAML",
    "markdown_it": "markdown-it-py",
    "ruamel": "ruamel.yaml",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}
OWN = {"interpretability"}
#: What the package imports where it is installed, and does without elsewhere.
OPTIONAL = {"onnx", "onnxruntime"}


def lines_of(name: str) -> list[str]:
    """Return the lines of a requirements file, without comments."""
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def requirements(name: str) -> dict[str, str]:
    """Return the requirements of a file, those it includes too: normalised name -> line."""
    by_name = {}
    for line in lines_of(name):
        if line.startswith("-r "):
            by_name |= requirements(line.removeprefix("-r ").strip())
        elif not line.startswith("-"):
            by_name[normalised(re.match(r"[A-Za-z0-9._-]+", line)[0])] = line
    return by_name


def normalised(name: str) -> str:
    """Return a distribution's name as package indices compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(*folders: str) -> dict[str, set[str]]:
    """Return third-party top-level modules, lazily imported ones too, and the files that import them."""
    files = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    # Helpers beside the importing file; a module inside the package is imported by its full name.
    local = OWN | {path.stem for path in files if (REPOSITORY / "interpretability") not in path.parents}
    by_module: dict[str, set[str]] = {}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            elif is_importorskip(node):
                names = [node.args[0].value]
            for name in names:
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names and top not in local and top != "tests":
                    by_module.setdefault(top, set()).add(str(path.relative_to(REPOSITORY)))
    return by_module


def is_importorskip(node: ast.AST) -> bool:
    """Whether a node is ``pytest.importorskip("name")``."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "importorskip"
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
    )


def missing(modules: dict[str, set[str]], known: dict[str, str]) -> dict[str, list[str]]:
    """Return the modules whose distribution is not among the requirements, with the files that need them."""
    return {m: sorted(files) for m, files in modules.items() if normalised(DISTRIBUTIONS.get(m, m)) not in known}


def named_in_yamls() -> dict[str, set[str]]:
    """Return the top-level modules of what YAMLs build, and the YAMLs."""
    by_module: dict[str, set[str]] = {}
    for folder in ("hparams", "recipes"):
        for path in (REPOSITORY / folder).rglob("*.yaml"):
            for top in re.findall(r"!(?:new|name|apply|module):(\w+)", path.read_text(encoding="utf-8")):
                if top not in OWN and top not in sys.stdlib_module_names:
                    by_module.setdefault(top, set()).add(str(path.relative_to(REPOSITORY)))
    return by_module


def test_the_runtime_is_named_in_requirements():
    modules = imported("interpretability", "recipes", "tools")
    assert {"torch", "speechbrain", "numpy"} <= modules.keys()
    assert missing(modules, requirements("requirements.txt")).keys() == OPTIONAL


def test_what_is_optional_is_an_extra_and_there_for_the_tests():
    extras = (REPOSITORY / "pyproject.toml").read_text("utf-8").partition("[project.optional-dependencies]")[2]
    for name in OPTIONAL:
        assert f'["{name}' in extras
        assert name in requirements("requirements-dev.txt")


def test_what_yamls_name_is_in_requirements():
    assert missing(named_in_yamls(), requirements("requirements.txt")) == {}


@pytest.mark.slow
def test_what_the_tests_need_is_named_in_the_requirements_for_development():
    modules = imported("tests")
    assert "pytest" in modules
    assert missing(modules, requirements("requirements-dev.txt")) == {}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned(name):
    for line in lines_of(name):
        if not line.startswith("-"):
            assert re.fullmatch(r"[A-Za-z0-9._-]+==\d+(\.\d+)+", line), f"{name}: {line!r} is not pinned with =="


def test_development_has_the_runtime():
    assert lines_of("requirements-dev.txt")[0] == "-r requirements.txt"


def test_no_requirement_is_named_twice():
    names = [
        normalised(line.split("==")[0]) for line in lines_of("requirements.txt") + lines_of("requirements-dev.txt")
    ]
    names = [name for name in names if not name.startswith("-")]
    assert len(names) == len(set(names))
