# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Measures searches against each other: how much of exhaustive search they find, and how long they take."""
