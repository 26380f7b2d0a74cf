# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Lets Pyserini 2.4 be imported without network, in the tests only.

It reads lists of prebuilt indexes from GitHub whenever it is imported. Python imports this module at its start where
this folder is on PYTHONPATH; from then on those lists are answered here: empty, but for the two records that Pyserini
looks up at once. Nothing that these tests measure depends on the lists. All other requests go their usual way.
"""

from __future__ import annotations

import email.message
import io
import json
import urllib.request
import urllib.response

LISTS = "https://raw.githubusercontent.com/castorini/prebuilt-indexes/"
LOOKED_UP_AT_ONCE = {
    "lucene/msmarco-v1-passage-impact.json": "msmarco-v1-passage.unicoil",
    "lucene/msmarco-v2-passage-impact.json": "msmarco-v2-passage.unicoil-0shot",
}


class Lists(urllib.request.HTTPSHandler):
    """Answers requests for Pyserini's lists, and passes on all others."""

    def https_open(self, request: urllib.request.Request) -> object:
        """Answer a request."""
        if not request.full_url.startswith(LISTS):
            return super().https_open(request)
        path = request.full_url.removeprefix(LISTS).partition("/")[2]
        answer = urllib.response.addinfourl(io.BytesIO(content(path)), email.message.Message(), request.full_url, 200)
        answer.msg = "OK"
        return answer


def content(path: str) -> bytes:
    """Give a list: records of Lucene indexes are a JSON array, those of Faiss indexes an object."""
    if path.startswith("faiss/"):
        return b"{}"
    record = {"name": LOOKED_UP_AT_ONCE.get(path), "filename": "x.tar.gz", "urls": [], "md5": "0"}
    record |= {"description": "stands in for Pyserini's own record", "size": 0}
    return json.dumps([record] if path in LOOKED_UP_AT_ONCE else []).encode()


urllib.request.install_opener(urllib.request.build_opener(Lists))
