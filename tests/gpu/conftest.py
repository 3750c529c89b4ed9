"""Tests that need a GPU are skipped, with the reason, where this machine has none."""

import pytest

from core import native


def pytest_collection_modifyitems(items):
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and (why := native.no_devices()):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"needs a CUDA device: {why}"))
