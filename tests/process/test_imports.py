"""What importing in less time may change: two variables nobody has set, and what the garbage collector looks at."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from clapstream.process.imports import DISABLED_SEARCHES, fast_imports


@pytest.fixture(autouse=True)
def collection_as_it_was() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_searches_are_switched_off_unless_the_user_wants_them() -> None:
    environment = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "1"}
    with fast_imports(environment):
        assert environment == {**DISABLED_SEARCHES, "TORCH_DEVICE_BACKEND_AUTOLOAD": "1"}


def test_what_is_made_inside_is_left_alone_by_the_collector_and_the_rest_is_not() -> None:
    gc.unfreeze()
    with fast_imports({}):
        assert not gc.isenabled()
        inside = [[]]
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    outside = [[]]
    watched = {id(each) for each in gc.get_objects()}
    assert id(outside) in watched
    assert id(inside) not in watched


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_as_before_also_after_a_failed_import(was_on: bool) -> None:
    (gc.enable if was_on else gc.disable)()
    with pytest.raises(ImportError), fast_imports({}):
        raise ImportError
    assert gc.isenabled() is was_on
