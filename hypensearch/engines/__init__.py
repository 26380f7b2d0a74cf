# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Surrogate search in the database that a user already runs: it holds codes and vectors, and finds the best codes."""
