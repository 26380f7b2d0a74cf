# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Indexes and models in other frameworks: a module for each, which imports the framework, over :mod:`.base`."""
