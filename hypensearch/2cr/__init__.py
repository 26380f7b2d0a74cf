# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The command of :mod:`hypensearch.reproductions`, under the name that Pyserini gives to it."""
