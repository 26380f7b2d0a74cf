# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A small hub on this machine: the part of its interface that uploads and downloads of a checkpoint need."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_right"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LFS_FROM = 2000  # bytes


class Hub:
    """What the server holds.

    :param files: Content by repository and path.
    :param stored: Large files by the hash they were uploaded under.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.stored: dict[str, bytes] = {}
        self.url = ""


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve a hub until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body, path = self._body(), self.path.split("?")[0]
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid user token."})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.hub.files.setdefault(name, {})
            self._answer(200, {"url": f"{self.hub.url}/{name}"})
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**asked, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}"}}}
                for asked in json.loads(body)["objects"]
            ]
            self._answer(200, {"transfer": "basic", "objects": objects})
        elif "/preupload/" in path:
            modes = [
                {"path": f["path"], "uploadMode": "lfs" if f["size"] > _LFS_FROM else "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            self._answer(200, {"files": modes})
        elif "/commit/" in path:
            self._commit(self._repository(), body)
        else:
            self._answer(404, {"error": path})

    def do_PUT(self) -> None:
        body = self._body()
        oid = self.path.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() == oid:
            self.hub.stored[oid] = body
        self._answer(200, {})

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        files = self.hub.files.get(self._repository())
        if files is None:
            self._answer(404, {"error": "no such repository"}, {"X-Error-Code": "RepoNotFound"})
        elif parts[0] == "api" and parts[4:5] == ["tree"]:
            tree = [
                {"type": "file", "path": path, "size": len(files[path]), "oid": _etag(files[path])} for path in files
            ]
            self._answer(200, tree)
        elif parts[0] == "api":
            name = self._repository()
            self._answer(200, {"id": name, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files]})
        elif (content := files.get("/".join(parts[4:]))) is not None:
            self._send(200, content, {"ETag": f'"{_etag(content)}"', "X-Repo-Commit": COMMIT})
        else:
            self._answer(404, {"error": "no such file"}, {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET

    def _commit(self, repository: str, body: bytes) -> None:
        files = self.hub.files[repository]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self._answer(200, {"commitUrl": f"{self.hub.url}/{repository}/commit/{COMMIT}", "commitOid": COMMIT})

    def _repository(self) -> str:
        parts = self.path.split("?")[0].strip("/").split("/")
        return "/".join(parts[2:4] if parts[0] == "api" else parts[:2])

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
