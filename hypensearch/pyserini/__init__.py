# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Pyserini's own commands under a JDK that hypensearch finds; all use of Pyserini is in ``pyserini_bridge``."""
