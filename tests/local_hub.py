"""A small hub on 127.0.0.1 that speaks what huggingface_hub calls to publish models and to load them.

Models have branches of commits, pull requests, owners, and may be private or gated. Large files are sent to and read
from a second address, as a store of objects is: no token may arrive there; or by Xet, whose client takes a folder for a
store. Connections break where a test wants it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from xet_store import stored_files

from interpretability.publishing.upload import contents

#: Who owns anna/…, and another user; made up, of the length that real ones have.
TOKEN, OTHER_TOKEN = "hf_" + "A1b2" * 9, "hf_" + "Z9y8" * 9
#: What a hub does not keep in git.
LARGE = (".safetensors", ".ckpt", ".pt", ".wav", ".png", ".npz")


@dataclass
class Model:
    """Branches and pull requests (``refs/pr/1``) -> commits, commits -> path -> hash of the content."""

    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, str]] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, str]) -> str:
        """Put files on the end of a branch; return the hash of the commit."""
        whole = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        name = hashlib.sha1(json.dumps([sorted(whole.items()), len(self.commits)]).encode()).hexdigest()
        self.commits[name] = whole
        self.branches[branch] = name
        return name

    def resolve(self, revision: str) -> str | None:
        """Return the commit that a branch, a pull request or a commit is."""
        return self.branches.get(revision, revision if revision in self.commits else None)


@dataclass
class Cut:
    """The connection of a request ends after some bytes of its body, sent or received; so many times.

    After None, all is done that was asked, and the answer is lost. With a status the request is refused instead.
    """

    method: str
    path: str
    after: int | None
    times: int
    status: int | None = None


class LocalHub:
    """The hub: ``endpoint`` is its address.

    Attributes
    ----------
    models : dict
        ``user/name`` -> :class:`Model`.
    contents : dict
        Hash -> bytes: SHA-256 of large files, git's SHA-1 of the others.
    requests : list of (method, path, token, range)
        All requests that came, to both addresses; token and range are None where absent.
    xet : Path, str or None
        If the hub speaks Xet: the folder of its store, or an address.
    """

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.contents: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None, str | None]] = []
        self.cuts: list[Cut] = []
        self.xet: Path | str | None = None
        self.tokens = {TOKEN: "anna", OTHER_TOKEN: "ben"}
        self.lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
        self.endpoint, self.store = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Requests that may change something."""
        return [(method, path) for method, path, *_ in self.requests if method not in ("GET", "HEAD")]

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """Return path -> content of a revision."""
        model = self.models[repo_id]
        return {path: self.contents[key] for path, key in model.commits[model.resolve(revision) or ""].items()}

    def clear(self) -> None:
        """Forget everything."""
        for kept in (self.models, self.contents, self.requests, self.cuts):
            kept.clear()
        self.xet = None

    @property
    def in_xet(self) -> dict[str, tuple[str, int]]:
        """SHA-256 of what the store of Xet holds -> its hash there, size in bytes."""
        return stored_files(self.xet) if isinstance(self.xet, Path) else {}

    def size(self, key: str) -> int:
        """Return the size of a content in bytes, wherever it is."""
        return len(self.contents[key]) if key in self.contents else self.in_xet[key][1]

    def put(self, repo_id: str, folder: Path, branch: str = "main", **settings: bool) -> str:
        """Put a folder on a branch without a request; return the commit."""
        model = self.models.setdefault(repo_id, Model(**settings))
        return model.commit(
            branch, {name: self.keep(name, (folder / name).read_bytes()) for name, _ in contents(folder)}
        )

    def keep(self, path: str, content: bytes) -> str:
        """Keep a content; return its hash."""
        large = path.endswith(LARGE) and content
        key = hashlib.sha256(content).hexdigest() if large else git_hash(content)
        self.contents[key] = content
        return key

    def cut(self, method: str, path: str, after: int | None = 0, times: int = 100) -> None:
        """Break connections whose path has a text in it, also all of them; 100 is more often than anybody tries."""
        self.cuts.append(Cut(method, path, after, times))

    def refuse(self, method: str, path: str, status: int) -> None:
        """Answer requests whose path has a text in it with an error."""
        self.cuts.append(Cut(method, path, 0, 100, status))


def is_large(key: str) -> bool:
    return len(key) == 64


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Refusal(Exception):
    """An answer that is an error: status, code in the header, text."""

    def __init__(self, status: int, text: str, code: str | None = None):
        super().__init__(text)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, self.query = unquote(parts.path), parse_qs(parts.query)
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        with self.hub.lock:
            self.hub.requests.append((self.command, path, self.token, self.headers.get("Range")))
            cuts = (cut for cut in self.hub.cuts if cut.times and cut.method == self.command and cut.path in path)
            self.breaks = next(cuts, None)
            if self.breaks is not None:
                self.breaks.times -= 1
        refused = self.breaks if self.breaks is not None and self.breaks.status is not None else None
        self.breaks = None if refused is not None else self.breaks
        self.body = self._read_body()
        if self.body is None:
            return
        try:
            if refused is not None:
                raise _Refusal(refused.status, "this hub is in no mood for that")
            for pattern, answer in ROUTES:
                method, _, pattern = pattern.partition(" ")
                match = re.fullmatch(pattern, path)
                if match is not None and self.command in method.split("|"):
                    answer(self, *match.groups())
                    return
            raise _Refusal(404, f"no such address: {self.command} {path}")
        except _Refusal as error:
            headers = {"X-Error-Message": str(error), **({"X-Error-Code": error.code} if error.code else {})}
            self.answer({"error": str(error)}, error.status, headers)

    do_HEAD = do_POST = do_PUT = do_GET

    def _read_body(self) -> bytes | None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            content = b"".join(pieces)
        else:
            length = int(self.headers.get("Content-Length") or 0)
            if self._ends_early:
                self.rfile.read(min(self.breaks.after, length))
                self._break_off()
                return None
            content = self.rfile.read(length)
        if self._ends_early:
            self._break_off()
            return None
        return content

    @property
    def _ends_early(self) -> bool:
        return self.breaks is not None and self.breaks.after is not None and self.command != "GET"

    def _break_off(self) -> None:
        """End the connection as a cable that is pulled does."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        if self.breaks is not None and self.breaks.after is None:
            self._break_off()
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.breaks is not None:
            self.wfile.write(content[: self.breaks.after])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(content)

    # Who may do what.

    def user(self) -> str | None:
        """Return who asks; None is a user without a token."""
        if self.token is not None and self.token not in self.hub.tokens:
            raise _Refusal(401, "Invalid credentials in Authorization header")
        return None if self.token is None else self.hub.tokens[self.token]

    def model(self, repo_id: str, write: bool = False) -> Model:
        user, model = self.user(), self.hub.models.get(repo_id)
        owner = repo_id.partition("/")[0]
        if model is None or (model.private and user != owner):
            raise _Refusal(404 if user else 401, "Repository not found", "RepoNotFound")
        if write and user is None:
            raise _Refusal(401, "Invalid username or password.")
        if write and user != owner and "create_pr" not in self.query:
            raise _Refusal(403, "you may not write to this model")
        return model

    def commit_of(self, model: Model, revision: str) -> str:
        commit = model.resolve(revision)
        if commit is None:
            raise _Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    # What is answered.

    def create(self) -> None:
        asked, user = json.loads(self.body), self.user()
        repo_id = f"{asked.get('organization') or user}/{asked['name']}"
        if user is None:
            raise _Refusal(401, "Invalid username or password.")
        if user != repo_id.partition("/")[0]:
            raise _Refusal(403, f"you may not make a model for {repo_id.partition('/')[0]}")
        if repo_id in self.hub.models:
            self.answer({"error": "You already created this model repo", "url": self.url(repo_id)}, 409)
            return
        model = self.hub.models[repo_id] = Model(private=asked.get("visibility") == "private")
        model.commit("main", {".gitattributes": self.hub.keep(".gitattributes", b"*.safetensors filter=lfs\n")})
        self.answer({"url": self.url(repo_id)})

    def url(self, repo_id: str) -> str:
        return f"{self.hub.endpoint}/{repo_id}"

    def info(self, repo_id: str, revision: str | None = None) -> None:
        model = self.model(repo_id)
        commit = self.commit_of(model, revision or "main")
        files = [{"rfilename": path} for path in model.commits[commit]]
        self.answer({"id": repo_id, "sha": commit, "private": model.private, "siblings": files, "tags": []})

    def tree(self, repo_id: str, revision: str) -> None:
        model = self.model(repo_id)
        entries, in_xet = [], self.hub.in_xet
        for path, key in model.commits[self.commit_of(model, revision)].items():
            size = self.hub.size(key)
            entry = {"type": "file", "path": path, "size": size, "oid": key[:40]}
            entry |= {"lfs": {"oid": key, "size": size, "pointerSize": 130}} if is_large(key) else {}
            entries.append(entry | ({"xetHash": in_xet[key][0]} if key in in_xet else {}))
        self.answer(entries)

    def branch(self, repo_id: str, name: str) -> None:
        model = self.model(repo_id, write=True)
        if name in model.branches:
            raise _Refusal(409, f"Reference already exists: {name}")
        model.branches[name] = model.branches["main"]
        self.answer({})

    def preupload(self, repo_id: str, revision: str) -> None:
        model = self.model(repo_id, write=True)
        there = model.commits[self.commit_of(model, revision)]
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": there.get(file["path"]),
            }
            for file in json.loads(self.body)["files"]
        ]
        self.answer({"files": files})

    def batch(self, repo_id: str) -> None:
        self.model(repo_id)
        if self.user() is None:
            raise _Refusal(401, "Invalid username or password.")
        objects = []
        for asked in json.loads(self.body)["objects"]:
            entry = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.hub.contents:
                entry["actions"] = {"upload": {"href": f"{self.hub.store}/objects/{asked['oid']}"}}
            objects.append(entry)
        self.answer({"transfer": "basic", "objects": objects})

    def store(self, key: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != key:
            raise _Refusal(400, "this content has another SHA-256")
        self.hub.contents[key] = self.body
        self.answer(b"")

    def commit(self, repo_id: str, revision: str) -> None:
        model = self.model(repo_id, write=True)
        parent = self.commit_of(model, revision)
        files = {}
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = self.hub.keep(value["path"], base64.b64decode(value["content"]))
            elif operation["key"] == "lfsFile":
                if value["oid"] not in self.hub.contents | self.hub.in_xet:
                    raise _Refusal(400, f"{value['path']} was not sent")
                files[value["path"]] = value["oid"]
            elif operation["key"] != "header":
                raise _Refusal(400, f"unknown operation {operation['key']}")
        answer: dict[str, Any] = {}
        if "create_pr" in self.query:
            number = 1 + sum(name.startswith("refs/pr/") for name in model.branches)
            revision = f"refs/pr/{number}"
            model.branches[revision] = parent
            answer["pullRequestUrl"] = f"{self.url(repo_id)}/discussions/{number}"
        name = model.commit(revision, files)
        self.answer({**answer, "commitOid": name, "commitUrl": f"{self.url(repo_id)}/commit/{name}"})

    def xet_token(self, repo_id: str, purpose: str) -> None:
        """Say where the store of Xet is."""
        self.model(repo_id, write=purpose == "write")
        if self.hub.xet is None:
            raise _Refusal(404, "Xet is not spoken here")
        store = f"local://{self.hub.xet}" if isinstance(self.hub.xet, Path) else self.hub.xet
        until, token = int(time.time()) + 3600, "of the store"
        headers = {"X-Xet-Cas-Url": store, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(until)}
        self.answer({"casUrl": store, "accessToken": token, "exp": until}, 200, headers)

    def validate(self) -> None:
        self.answer({"errors": [], "warnings": []})

    def file(self, repo_id: str, revision: str, path: str) -> None:
        model = self.model(repo_id)
        if model.gated and self.user() != repo_id.partition("/")[0]:
            raise _Refusal(403 if self.user() else 401, "Access to this model is restricted.", "GatedRepo")
        commit = self.commit_of(model, revision)
        key = model.commits[commit].get(path)
        if key is None:
            raise _Refusal(404, "Entry not found", "EntryNotFound")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{key}"'}
        if not is_large(key):
            self.content(self.hub.contents[key], headers)
            return
        size = str(self.hub.size(key))
        place = f"{self.hub.store}/objects/{key}"
        headers |= {"X-Linked-ETag": f'"{key}"', "X-Linked-Size": size, "Location": place}
        in_xet = self.hub.in_xet
        if key in in_xet:
            route = f"{self.hub.endpoint}/api/models/{repo_id}/xet-read-token/{commit}"
            headers |= {"X-Xet-Hash": in_xet[key][0], "X-Xet-Refresh-Route": route}
        self.answer(b"", 302, headers)

    def stored(self, key: str) -> None:
        self.content(self.hub.contents[key], {"ETag": f'"{key}"', "Accept-Ranges": "bytes"})

    def content(self, content: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked is None:
            self.answer(content, 200, headers)
            return
        start = int(asked[1])
        span = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self.answer(content[start:], 206, headers | span)


_ID = "([^/]+/[^/]+)"
ROUTES = (
    ("POST /api/repos/create", _Handler.create),
    ("POST /api/validate-yaml", _Handler.validate),
    (f"GET /api/models/{_ID}", _Handler.info),
    (f"GET /api/models/{_ID}/revision/(.+)", _Handler.info),
    (f"GET /api/models/{_ID}/tree/(.+?)/?", _Handler.tree),
    (f"POST /api/models/{_ID}/branch/(.+)", _Handler.branch),
    (f"POST /api/models/{_ID}/preupload/(.+)", _Handler.preupload),
    (f"POST /api/models/{_ID}/commit/(.+)", _Handler.commit),
    (f"GET /api/models/{_ID}/xet-(read|write)-token/.+", _Handler.xet_token),
    (f"POST /{_ID}.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT /objects/([0-9a-f]+)", _Handler.store),
    ("GET /objects/([0-9a-f]+)", _Handler.stored),
    (f"GET|HEAD /{_ID}/resolve/([^/]+|refs/pr/\\d+)/(.+)", _Handler.file),
)


@contextlib.contextmanager
def local_hub() -> Iterator[LocalHub]:
    """Start a hub, and stop it at the end of the block."""
    hub = LocalHub()
    try:
        yield hub
    finally:
        hub.stop()
