"""Models by name: ``user/name`` stands for a folder on a hub, fetched once and then read from the cache.

Downloads, the cache and tokens are huggingface_hub's. A model that is in the cache is read from there without a
request; ``user/name@REVISION``, of a branch or a tag, asks the hub which commit that is now. The commit that was read
is known from the folder's path (:func:`origin_of`), and results record it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from interpretability.errors import MissingError, UserError, first_line
from interpretability.files import expanded, sha256
from interpretability.names import printable

#: ``user/name``, or ``user/name@REVISION``: a branch, a tag or a commit.
_NAME = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(@(?P<revision>[\w.-]+(/[\w.-]+)*))?", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
#: Where huggingface_hub keeps the files of a commit.
_SNAPSHOT = re.compile(
    r"models--(?P<user>[\w.-]+?)--(?P<name>[\w.-]+)/snapshots/(?P<commit>[0-9a-f]{40})(/|$)", re.ASCII
)
#: What is fetched of a model, and what besides if it has no weights as safetensors.
FILES = ("*.json", "*.yaml", "*.txt", "*.safetensors", "dictionary.pt")
OTHER_WEIGHTS = ("*.ckpt", "*.pt")
#: What the client of Xet raises of the network; huggingface_hub's own errors are of other types.
_OF_XET = (ConnectionError, RuntimeError)
#: Examples are for people, and so are cards.
_NOT_FETCHED = ("example/*", "*.onnx", "checkpoint-*")


def is_name(source: str | Path) -> bool:
    """Return whether a source names a model on a hub, and no folder here.

    ``results/piq`` is a folder here, also a missing one, if there is a folder ``results``; with a revision behind it
    a name is always one of the hub.
    """
    match = _NAME.fullmatch(str(source))
    if match is None:
        return False
    return match["revision"] is not None or not (Path(source).exists() or Path(source).parent.is_dir())


def local_folder(source: str | Path, revision: str | None = None) -> Path:
    """Return the folder that a source stands for; a model of a hub is fetched, unless it is in the cache.

    Parameters
    ----------
    source : str or path
        A folder, which need not exist; ``~`` stands for the home folder. Or the name of a model: :func:`is_name`.
    revision : str, optional
        Branch, tag or commit of a model on the hub. Of a branch or a tag the newest commit is taken, and the one in
        the cache where the hub cannot be reached. By default the one in the cache, or else the newest.

    Raises
    ------
    MissingError
        If there is no such model or revision; if it is not in the cache and the hub cannot be reached.
    UserError
        If it cannot be read without permission, or a revision is given for a folder.
    """
    folder = expanded(source)
    cached = _SNAPSHOT.search(folder.as_posix())
    if cached is not None and revision is None and not folder.exists():
        # The archived YAML of a run names the folder that was read, and the cache may be gone since.
        top = Path(folder.as_posix()[: cached.end("commit")])
        return _fetched(f"{cached['user']}/{cached['name']}", cached["commit"]) / folder.relative_to(top)
    match = _NAME.fullmatch(str(source))
    if revision is not None and (match is None or match["revision"] is not None or not is_name(f"{source}@{revision}")):
        raise UserError(f"revision is {revision!r}, for {source}, which is no name of a model on a hub: leave it out")
    if match is None or not is_name(f"{source}@{revision}" if revision else source):
        return folder
    return _fetched(match["repo"], revision or match["revision"])


def origin_of(folder: str | Path) -> dict[str, str] | None:
    """Return which model of a hub a folder of the cache holds: ``repo_id`` and ``revision``, the hash of its commit.

    None for any other folder.

    Examples
    --------
    >>> origin_of(f"/cache/models--anna--birds/snapshots/{'0' * 39}1")["repo_id"]
    'anna/birds'
    >>> origin_of("results/piq/1234")
    """
    match = _SNAPSHOT.search(Path(folder).absolute().as_posix())
    return None if match is None else {"repo_id": f"{match['user']}/{match['name']}", "revision": match["commit"]}


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path leads to what lies in a folder; of the cache also to what its links stand for."""
    place, top = path.resolve(), folder.resolve()
    snapshot = _SNAPSHOT.search(folder.absolute().as_posix())
    roots = [top]
    if snapshot is not None:
        # The contents of the model's files, and of files that are stored by Xet, of whichever model.
        model = Path(folder.absolute().as_posix()[: snapshot.start("commit")]).parent.resolve()
        roots += [model / "blobs", model.parent / "blobs"]
    return any(place.is_relative_to(root) for root in roots)


@contextlib.contextmanager
def hub_errors(name: str, advice: str, where: str = "the hub") -> Iterator[None]:
    """Turn what huggingface_hub raises in the block into one line, which says what to do.

    Parameters
    ----------
    name : str
        ``user/name``, in front of the line.
    advice : str
        Behind the line if the connection fails: what is lost, and what is not.
    where : str
        In front of what failed then: where else nothing was found.

    Raises
    ------
    MissingError, UserError
    """
    from huggingface_hub import errors  # takes a while to import

    login = "log in with `hf auth login`, with a token that may"
    try:
        with _bars_that_end():
            yield
    except errors.GatedRepoError as error:
        line = f"{name}: its owner grants access one by one: ask for it on the model's page, and {login} read it"
        raise UserError(line) from error
    except errors.RepositoryNotFoundError as error:
        raise MissingError(
            f"{name}: neither a folder here nor a model on the hub that you may read: check the name; for a private "
            f"model, {login} read it"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise MissingError(f"{name}: the hub has no such revision: name a branch, a tag or a commit of it") from error
    except (errors.HFValidationError, errors.RemoteEntryNotFoundError) as error:
        raise MissingError(f"{name}: {first_line(error)}: check the name") from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as error:
        # What is not in the cache is said of a refusal, too.
        answer = error if isinstance(error, errors.HfHubHTTPError) else error.__cause__
        status = getattr(getattr(answer, "response", None), "status_code", None)
        if answer is None or status is None:
            raise _unreachable(name, error, advice, where) from error
        if status in (401, 403):
            line = f"{name}: the hub refuses this ({status}): {login} do it: {first_line(answer)}"
            raise UserError(line) from error
        reason = first_line(Exception(getattr(answer, "server_message", None) or answer))
        raise UserError(f"{name}: {where} answers with error {status} ({printable(reason)}): {advice}") from error
    except UserError:
        raise
    except Exception as error:  # of the network, and of half a dozen libraries between it and us
        raise _unreachable(name, error, advice, where) from error


@contextlib.contextmanager
def _bars_that_end() -> Iterator[None]:
    """End the progress bars that huggingface_hub leaves open if it fails: what is said next has a line of its own."""
    from huggingface_hub.utils import tqdm

    try:
        yield
    except BaseException:
        for bar in list(getattr(tqdm, "_instances", ())):
            if isinstance(bar, tqdm):
                bar.close()
        raise


def _unreachable(name: str, error: BaseException, advice: str, where: str) -> MissingError:
    from huggingface_hub import constants

    if type(error) in _OF_XET and not constants.HF_HUB_DISABLE_XET:
        advice = f"{advice}; if Xet is what cannot be reached, HF_HUB_DISABLE_XET=1 before the command goes without it"
    return MissingError(f"{name}: {where} cannot be reached, or broke off ({first_line(error)}): {advice}")


def _fetched(repo_id: str, revision: str | None) -> Path:
    """Return the folder of a model in the cache, with all its files that are needed."""
    name = repo_id if revision is None else f"{repo_id}@{revision}"
    advice = "run it again when the network is there (what was fetched is kept), or pass a local folder"
    with hub_errors(name, advice, "there is no such folder here, it is not whole in the cache, and the hub"):
        folder = _snapshot(repo_id, revision, FILES)
        if not any(folder.rglob("*.safetensors")):
            # Of the same commit, whatever has happened to the branch since.
            folder = _snapshot(repo_id, folder.name, (*FILES, *OTHER_WEIGHTS))
    if not folder.is_dir():
        raise MissingError(f"{name}: the hub has no weights or descriptions of that name: check it, and the revision")
    return folder


def _snapshot(repo_id: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import errors, snapshot_download

    chosen = {"revision": revision, "allow_patterns": list(patterns), "ignore_patterns": list(_NOT_FETCHED)}
    if revision is None or _COMMIT.fullmatch(revision):
        with contextlib.suppress(errors.LocalEntryNotFoundError):  # also of one whose files are not all here
            return Path(snapshot_download(repo_id, local_files_only=True, **chosen))
    folder = Path(snapshot_download(repo_id, **chosen))
    _drop_damaged(repo_id, folder)
    return folder


def _drop_damaged(repo_id: str, folder: Path) -> None:
    """Refuse files that are not what they are named by in the cache, and take them out of it.

    huggingface_hub compares sizes alone, unless Xet fetches them. It names files by their SHA-256, those in git by
    git's hash.
    """
    damaged = []
    for link in [path for path in folder.rglob("*") if path.is_symlink()]:
        blob = link.parent / link.readlink()
        if blob.is_file() and _is_another(blob):
            damaged.append(link.relative_to(folder).as_posix())
            for place in (blob.resolve(), blob, link):  # the first is what models share that are stored by Xet
                place.unlink(missing_ok=True)
    if damaged:
        raise UserError(
            f"{repo_id}: {', '.join(sorted(damaged))} arrived damaged and was taken out of the cache again: "
            "run it again; if that does not help, something between here and the hub changes files"
        )


def _is_another(blob: Path) -> bool:
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return sha256(blob) != blob.name
    if _COMMIT.fullmatch(blob.name):
        content = blob.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() != blob.name
    return False
