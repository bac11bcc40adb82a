"""Sending a published folder to a hub, by huggingface_hub: it reads the token, and says how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from interpretability.errors import UserError
from interpretability.files import LISTING
from interpretability.hub import hub_errors

#: Files and folders that only this machine needs.
_NOT_SENT = {LISTING, ".git", ".cache"}
_ADVICE = (
    "the model on the hub is as it was (empty, if it is new), or, if only the answer was lost, as it was sent; run it "
    "again: what arrived is not sent twice"
)


@dataclass(frozen=True)
class Destination:
    """Where a folder goes.

    Attributes
    ----------
    repo_id : str
        ``user/name``; made if absent.
    private : bool
        Of a model that is made; one that is there already must be private.
    create_pr : bool
        Propose the files, as a pull request for the main branch; goes without ``revision``.
    revision : str, optional
        Branch; made if absent. By default the main one.
    """

    repo_id: str
    private: bool = False
    create_pr: bool = False
    revision: str | None = None


def upload(folder: Path, destination: Destination) -> str:
    """Send a folder in one commit, by Xet or by Git LFS, whichever huggingface_hub takes.

    Returns
    -------
    str
        The address of the commit, or of the pull request.

    Raises
    ------
    MissingError, UserError
        If the hub cannot be reached or refuses it, or the model is public and should not be: what is there stays as it
        was, since a commit is whole or is not.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api, name = HfApi(), destination.repo_id
    with hub_errors(name, _ADVICE):
        api.create_repo(name, private=destination.private or None, exist_ok=True)
        if destination.private and not api.model_info(name).private:
            raise UserError(
                f"{name}: --private makes new models private, and this one is on the hub already, for all to see: "
                "make it private in its settings there first, or leave --private out; nothing was sent"
            )
        if destination.revision is not None:
            api.create_branch(name, branch=destination.revision, exist_ok=True)
        # As upload_folder does without Xet; with it, it makes several commits, of which some may be refused.
        commit = api.create_commit(
            name,
            [CommitOperationAdd(path, folder / path) for path, _ in contents(folder)],
            commit_message=f"Publish {name.partition('/')[2]}",
            revision=destination.revision,
            create_pr=destination.create_pr,
        )
    return str(commit.pr_url if destination.create_pr else commit.commit_url)


def contents(folder: Path) -> list[tuple[str, int]]:
    """Return the names and the sizes in bytes of the files that are sent."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [(path.as_posix(), (folder / path).stat().st_size) for path in paths if _NOT_SENT.isdisjoint(path.parts)]
