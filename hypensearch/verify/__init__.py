# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Is what lies on disk still what was written: indexes, graphs, codes, q-nets and checkpoints."""
