# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Building what makes search fast: graphs and surrogate codes beside an index."""
