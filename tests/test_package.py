# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import configparser
from pathlib import Path

import pytest

import hypensearch

PACKAGE = Path(hypensearch.__file__).parent
SETUP = Path(__file__).parent.parent / "setup.cfg"


def test_every_folder_of_the_package_is_one_that_setuptools_packs() -> None:
    """It warns, forty lines at a time, of data in folders that are no packages."""
    find = pytest.importorskip("setuptools").find_namespace_packages
    settings = configparser.ConfigParser()
    settings.read(SETUP)
    assert settings["options"]["packages"] == "find_namespace:"
    assert settings["options.packages.find"]["include"] == "hypensearch*"
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    folders = {".".join(path.parent.relative_to(PACKAGE).parts) for path in files} - {""}
    assert folders <= set(find(str(PACKAGE)))
