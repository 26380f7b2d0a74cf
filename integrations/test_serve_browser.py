# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The service's page in a real browser: pip install playwright, and Chromium on the PATH."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hypensearch.search import HypencoderSearcher
from tests.commands import encode, succeed, write_corpus
from tests.serve.test_main import served

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TEXTS = {"a": "Water of the river & <b>stones</b>", "b": "stones of the church", "c": "a storm over the north"}


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_search_from_the_page(tiny_checkpoint: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    succeed("encode", *encode(write_corpus(tmp_path / "corpus.jsonl", TEXTS), index, tiny_checkpoint))
    with HypencoderSearcher(index) as searcher:
        wanted = searcher.search("river stones", 2)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with served(index, "--max-hits", "2") as (_, address), sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        sync_api.expect(page.get_by_role("status")).to_contain_text("3 documents")
        page.get_by_label("Query").fill("river stones")
        page.get_by_label("Hits").fill("2")
        page.get_by_role("button", name="Search").click()
        sync_api.expect(page.locator("#hits li")).to_have_count(2)
        assert page.locator(".docid").all_inner_texts() == [hit.docid for hit in wanted]
        assert page.locator(".score").all_inner_texts() == [f"{hit.score:.3f}" for hit in wanted]
        assert page.locator(".text").all_inner_texts() == [TEXTS[hit.docid] for hit in wanted]
        page.screenshot(path=tmp_path / "page.png")
        page.get_by_label("Hits").fill("7")
        page.get_by_role("button", name="Search").click()
        sync_api.expect(page.get_by_role("status")).to_contain_text("less than or equal to 2")
        sync_api.expect(page.locator("#hits li")).to_have_count(0)
        assert errors == []
        browser.close()
