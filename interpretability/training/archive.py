"""The YAML that a run keeps in its folder: a script that is given the folder works with it.

A recipe's YAML is the user's own program. One that lies in a folder of results may be anybody's, so it is read only if
all that it names are the parts of this package that recipes name.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent

from interpretability import safe_yaml
from interpretability.classifiers.trust import FLAG
from interpretability.errors import MissingError, UserError, shown
from interpretability.methods.folder import CLASSIFIER, RUN_SUBFOLDER
from interpretability.reading import read_text
from interpretability.training.paths import fill_references
from interpretability.training.tree import nodes, parse, tag_of

ARCHIVED = "hyperparams.yaml"
#: Keys that the YAMLs of older runs do not have -> what those runs did.
OLDER = {"channel": "mean"}
_MAX_BYTES = 2**20
#: What the YAML of a run may name. A ModuleClassifier would import what its settings name.
_TRUSTED = re.compile(
    "|".join(
        (
            r"!name:interpretability\.(classifiers|methods)\.\w+\.(?!ModuleClassifier)[A-Z]\w*(\.from_pretrained)?",
            r"!name:interpretability\.data\.(\w+\.prepare_\w+|noise\.NoiseMixer)",
            r"!name:torch\.optim\.[A-Z]\w*",
            r"!new:interpretability\.(dictionary\.Dictionary|frontend\.Frontend|training\.augmentation\.Augmentation)Settings",
            r"!new:interpretability\.training\.checkpoints\.AtomicCheckpointer",
            r"!new:speechbrain\.utils\.(epoch_loop\.EpochCounter|train_logger\.FileTrainLogger)",
            r"!apply:speechbrain\.utils\.seed_everything",
        )
    )
)
#: Names of settings.
_KEY = re.compile(r"\w+")
#: Texts that refer to others; HyperPyYAML would also calculate.
_REFERRING = re.compile(r"[^*^%()]*")
#: Where a run writes, which has to be inside its own folder.
_WRITTEN = re.compile(r"training\.\w+\.(checkpoints_dir|save_file)")
_OF_THE_RUN = re.compile(r"<output_folder>(/(?!\.\.(/|$))[^/<>]+)+")


def find_yaml(path: Path, parts: Iterable[str], trust_remote_code: bool) -> tuple[Path, dict[str, Any]]:
    """Return the YAML that is named, or that of the run whose folder is named, and what is to be laid over that.

    A run goes on in its folder, and with the classifier that is saved in it, wherever the folder has been moved.

    Parameters
    ----------
    path : Path
        A YAML file, which is returned as it is; or the output folder of a run. A file of the name that runs give
        theirs is read as carefully as that of a folder.
    parts : iterable of str
        Folders inside a run's that may keep a YAML of their own.
    trust_remote_code : bool
        Whether a run's YAML may name anything.

    Raises
    ------
    MissingError
        If the folder keeps no YAML.
    UserError
        If the YAML of a run names what no recipe does.
    """
    if not path.is_dir():
        if path.name == ARCHIVED and path.is_file() and not trust_remote_code:
            _check_trusted(read_text(path, _MAX_BYTES), path)
        return path, {}
    places = [path, *(path / part for part in parts)]
    yaml = next((place / ARCHIVED for place in places if (place / ARCHIVED).is_file()), None)
    if yaml is None:
        raise MissingError(f"{path} is a folder without a {ARCHIVED}: give the output folder of a run, or a YAML file")
    text = read_text(yaml, _MAX_BYTES)
    if not trust_remote_code:
        _check_trusted(text, yaml)
    known: dict[str, Any] = {"output_folder": path}
    classifier = path / RUN_SUBFOLDER / CLASSIFIER
    if classifier.is_dir():
        known["classifier_folder"] = classifier
    if re.search(rf"^{FLAG}:", text, re.MULTILINE):
        known[FLAG] = trust_remote_code
    return yaml, known


def _check_trusted(text: str, yaml: Path) -> None:
    """Refuse a YAML that names what no recipe does, or that grows when it is read."""
    safe_yaml.parse(text, str(yaml), ("interpretability.", "torch.optim.", "speechbrain.utils."))
    tree = parse(text, str(yaml))
    if any(isinstance(event, AliasEvent) for event in YAML().parse(text)):
        raise UserError(f"{yaml}: has aliases, which no run writes: it is not read")
    for place, node in nodes(tree):
        tag, value = tag_of(node), str(getattr(node, "value", node))
        if _WRITTEN.fullmatch(place):
            fine = tag == "!ref" and _OF_THE_RUN.fullmatch(value)
        elif tag == "!ref":
            fine = _REFERRING.fullmatch(value)
        elif tag:
            fine = _TRUSTED.fullmatch(tag)
        else:
            fine = place.split(".")[0] != "extends" and not (isinstance(node, str) and node.startswith("("))
        # A key is read as a value is: in parentheses it would be a tuple, whose text HyperPyYAML loads.
        if not fine or (isinstance(node, dict) and not all(_KEY.fullmatch(str(key)) for key in node)):
            raise _foreign(yaml, place, tag, value)
    # HyperPyYAML takes what it puts together of texts for Python, and the result for YAML. Those that stand for a text
    # are filled in before it is asked.
    for place, node in nodes(parse(fill_references(text), str(yaml))):
        if tag_of(node) == "!ref" and not _is_harmless(node.value, tree):
            raise _foreign(yaml, place, "!ref", node.value)


def _is_harmless(reference: str, tree: Mapping) -> bool:
    """Return whether a reference leads to numbers alone; or, with nothing around it, to anything but a text."""
    targets = [_target(name, tree) for name in re.findall(r"<([^<>]*)>", reference)]
    if re.fullmatch(r"<[^<>]*>", reference):
        return tag_of(targets[0]) not in ("!ref", "!copy") and not isinstance(targets[0], str)
    return all(isinstance(target, (int, float)) for target in targets)


def _target(name: str, tree: Any) -> Any:
    """Return what is at ``a[b]``; a text if the way there leads through anything but mappings that are written out."""
    for part in re.split(r"\]?\[|\]$", name.removesuffix("]")):
        tree = tree.get(part, "") if isinstance(tree, dict) else ""
    return tree


def _foreign(yaml: Path, place: str, tag: str, value: str) -> UserError:
    return UserError(
        f"{yaml}: {place} is {shown(f'{tag} {value}'.strip())}, which no recipe of this package has: it is not "
        f"read. Give --{FLAG} True if you trust the folder, or a YAML file of your own"
    )
