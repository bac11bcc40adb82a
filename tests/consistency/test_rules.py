"""Rules of the code: small return values, attributes set by their own class, settings stated once and documented."""

import ast
import inspect
from pathlib import Path

import pytest

from interpretability.classifiers import CLASSIFIERS
from interpretability.methods import METHODS
from interpretability.training.usage import settings_text

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "interpretability"
MODULES = sorted(PACKAGE.rglob("*.py"))

#: Tuples of more than two that a function may return: they are the arguments of another one, whatever their number, or
#: what a class of SpeechBrain's returns.
ARGUMENT_LISTS = {("classifiers/waveform.py", name) for name in ("inputs", "sound_inputs")}
ARGUMENT_LISTS |= {("interface.py", name) for name in ("interpret_file", "classify_batch", "forward")}
#: Attributes that are set on objects of other libraries, which know no other way.
OF_OTHER_LIBRARIES = {
    ("classifiers/focalnet.py", "configuration.hidden_sizes"),
    ("classifiers/hooks.py", "part.training"),
    ("classifiers/onnx_file.py", "options.intra_op_num_threads"),
    ("classifiers/onnx_file.py", "options.log_severity_level"),
    ("classifiers/speechbrain.py", "module._get_gauss_noise"),
    ("classifiers/vit.py", "configuration._attn_implementation"),
    ("command_line.py", "logging.raiseExceptions"),
    ("training/brain.py", "self._bar.initial"),
    ("training/brain.py", "self._bar.n"),
    ("training/tree.py", "yaml.preserve_quotes"),
    ("training/tree.py", "yaml.width"),
}


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_function_returns_more_than_two_values_without_names(path):
    module = str(path.relative_to(PACKAGE))
    for function in functions(ast.parse(path.read_text(encoding="utf-8"))):
        if (module, function.name) in ARGUMENT_LISTS:
            continue
        annotation = ast.unparse(function.returns) if function.returns else ""
        any_number = "..." in annotation
        for node in ast.walk(function.returns) if function.returns else ():
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "tuple" and not any_number:
                members = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                assert len(members) <= 2, f"{module}: {function.name} returns {annotation}: give it a dataclass"
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and not any_number:
                assert len(node.value.elts) <= 2, f"{module}, line {node.lineno}: give it a dataclass"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_attributes_are_set_by_their_own_class(path):
    module = str(path.relative_to(PACKAGE))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Store):
            continue
        owner = ast.unparse(node.value)
        allowed = owner in ("self", "cls") or (module, ast.unparse(node)) in OF_OTHER_LIBRARIES
        assert allowed, f"{module}, line {node.lineno}: {ast.unparse(node)} is set from outside its class"


@pytest.mark.parametrize("kind", [*METHODS.values(), *CLASSIFIERS.values()], ids=lambda kind: kind.NAME)
def test_settings_are_stated_in_their_dataclass_alone(kind):
    """No constructor repeats a setting, with a default or without."""
    names = {info.name for info in kind.Settings.infos()}
    given_as_objects = {"dictionary", "module"}  # the setting is what describes them
    repeated = names & set(inspect.signature(kind.__init__).parameters)
    assert repeated <= given_as_objects, f"{kind.__name__} repeats {sorted(repeated)}"
    assert all(info.meaning and info.expected for info in kind.Settings.infos())


def test_the_page_of_settings_is_made_from_them():
    """To make it again: python tools/interpret.py --list_settings all > docs/settings.md"""
    page = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == settings_text("all") + "\n"
