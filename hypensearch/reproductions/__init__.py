# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Two-click reproductions of published figures, in the form of ``pyserini.2cr``."""
