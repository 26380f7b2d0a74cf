# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints from one layout to another, and to the hub."""
