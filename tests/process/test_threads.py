"""The OpenMP settings of a program that runs all the time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from clapstream.process.threads import set_openmp_defaults


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (2, "1"), (3, "2"), (16, "15")])
def test_one_core_is_left_free(cores: int, threads: str) -> None:
    environment: dict[str, str] = {}
    set_openmp_defaults(environment, cores)
    assert environment == {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}


def test_variables_that_the_user_has_set_are_kept() -> None:
    environment = {"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "ACTIVE"}
    set_openmp_defaults(environment, 4)
    assert environment == {"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "ACTIVE"}


def test_torch_uses_so_many_threads() -> None:
    probe = (
        "from clapstream.process.threads import set_openmp_defaults; set_openmp_defaults(cores=3); "
        "import torch; print(torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    found = subprocess.run(
        [sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "2"
