# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m hypensearch.2cr``; the code is in :mod:`hypensearch.reproductions`, whose name can be imported."""

from hypensearch.reproductions.command import build_parser, main

__all__ = ["build_parser", "main"]

if __name__ == "__main__":
    raise SystemExit(main())
