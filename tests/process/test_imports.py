"""What fast imports change: two environment variables, if unset, and what the garbage collector scans."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from clapstream.process.imports import DISABLED_SEARCHES, fast_imports


@pytest.fixture(autouse=True)
def collector_restored() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_plugin_searches_are_disabled_unless_the_user_enables_them() -> None:
    environment = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "1"}
    with fast_imports(environment):
        assert environment == {**DISABLED_SEARCHES, "TORCH_DEVICE_BACKEND_AUTOLOAD": "1"}


def test_only_objects_of_the_imports_are_excluded_from_collection() -> None:
    gc.unfreeze()
    with fast_imports({}):
        assert not gc.isenabled()
        inside = [[]]
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    outside = [[]]
    scanned = {id(each) for each in gc.get_objects()}
    assert id(outside) in scanned
    assert id(inside) not in scanned


@pytest.mark.parametrize("was_enabled", [True, False])
def test_the_collector_is_restored_after_a_failed_import(was_enabled: bool) -> None:
    (gc.enable if was_enabled else gc.disable)()
    with pytest.raises(ImportError), fast_imports({}):
        raise ImportError
    assert gc.isenabled() is was_enabled
