"""What ``tools/publish.py`` does: make the folder of a model, read it again, and send it to a hub."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from interpretability.errors import UserError
from interpretability.exported import CONFIG, is_exported
from interpretability.files import expanded
from interpretability.publishing.check import check_folder
from interpretability.publishing.collection import members
from interpretability.publishing.export import Choices, export
from interpretability.publishing.upload import Destination, contents, upload
from interpretability.reading import read_object


def publish(options: argparse.Namespace) -> None:
    """Make the folder; without ``--out`` check it and send it.

    Raises
    ------
    MissingError, UserError
        If options do not fit each other, there is no model, it cannot be published, its folder does not give the same
        again, or the hub refuses it.
    """
    if (options.source is None) == (options.all is None):
        raise UserError("pass one RUN to publish, or --all FOLDER for all runs below a folder")
    if options.repo_id is None:
        raise UserError("no --repo_id: give the name under which it will be found, user/name")
    if options.out is not None:
        given = ("private", "create_pr", "revision", "dry_run")
        stray = [f"--{name}" for name in given if getattr(options, name)]
        if stray:
            raise UserError(f"{stray[0]} goes with sending, and --out only makes the folder: leave one of them out")
    if options.create_pr and options.revision is not None:
        raise UserError("--create_pr proposes files for the main branch, and --revision names another: leave one out")
    if options.all is not None:
        _publish_all(options)
    elif is_exported(expanded(options.source)):
        _publish_folder(options, expanded(options.source))
    else:
        choices = Choices(
            options.repo_id,
            options.license,
            options.base_model,
            options.example,
            trust_remote_code=options.trust_remote_code,
        )
        _publish_run(options, options.source, choices, options.out)


def _publish_run(options: argparse.Namespace, source: Path, choices: Choices, out: Path | None) -> None:
    if out is not None:
        folder = export(source, out, choices)
        print(f"{choices.repo_id} is in {folder}: look at README.md, then send it with tools/publish.py {folder}")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = export(source, Path(temporary) / "model", choices)
        _send(options, folder, choices.repo_id)


def _publish_folder(options: argparse.Namespace, folder: Path) -> None:
    """Send a folder that was made before."""
    for name in ("out", "license", "base_model", "example"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name} goes with a run, and {folder} is a folder made of one: leave it out")
    known = read_object(folder / CONFIG).get("repo_id")
    if known != options.repo_id:
        raise UserError(
            f"--repo_id is {options.repo_id}, but {folder} was made as {known}: give that, or make the folder again"
        )
    _send(options, folder, options.repo_id)


def _publish_all(options: argparse.Namespace) -> None:
    for name in ("base_model", "example"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name} goes with one run, and not with --all: leave it out")
    models = members(options.all, options.repo_id)
    names = {member.repo_id: member.about for member in models}
    classifiers = {member.classifier: member.repo_id for member in models if member.is_classifier}
    for member in models:
        base = None if member.is_classifier else classifiers.get(member.classifier)
        choices = Choices(
            member.repo_id, options.license, base, None, names, trust_remote_code=options.trust_remote_code
        )
        out = None if options.out is None else options.out / member.repo_id.partition("/")[2]
        _publish_run(options, member.source, choices, out)


def _send(options: argparse.Namespace, folder: Path, repo_id: str) -> None:
    ratios = check_folder(folder, options.trust_remote_code)
    how_equal = ", ".join(f"{name} {snr:.0f} dB" for name, snr in ratios.items())
    print(f"{repo_id}: read again in a fresh process, it explains its example as the run does ({how_equal})")
    if options.dry_run:
        print(f"{repo_id}: nothing is sent (--dry_run); these files would be:")
        for name, size in contents(folder):
            print(f"  {size:>12,} bytes  {name}")
        return
    destination = Destination(repo_id, options.private, options.create_pr, options.revision)
    print(f"{repo_id}: sent: {upload(folder, destination)}")
