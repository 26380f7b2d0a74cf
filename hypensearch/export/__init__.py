# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Export: an index's codes and vectors to a database that searches them."""
