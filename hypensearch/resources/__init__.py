# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Files that ship with the package: a small trained model."""
