# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A search service over HTTP: queries as text in, hits with their texts out."""
