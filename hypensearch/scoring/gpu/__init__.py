# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""GPU kernels, written in Triton; nothing here is imported before it runs."""
