# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The demo: from a corpus that every machine has to an evaluated run, offline."""
