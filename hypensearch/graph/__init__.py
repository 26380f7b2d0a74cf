# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Graph search: a graph of near documents, how it is stored, built and walked."""
