"""What `clapstream.clap` offers, and what it costs to import."""

import subprocess
import sys

import pytest

from clapstream import clap


def test_every_name_is_there():
    assert sorted(clap.__all__) == sorted(clap.MODULES)
    for name in clap.__all__:
        assert getattr(clap, name).__name__ == name
    assert dir(clap) == clap.__all__
    with pytest.raises(AttributeError, match="ClapVideoModel"):
        _ = clap.ClapVideoModel


def test_errors_and_files_need_no_torch():
    program = "import sys; from clapstream.clap import CheckpointError; import clapstream.clap.hub as hub; "
    program += "print([name for name in ('torch', 'huggingface_hub', 'transformers') if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


def test_transformers_is_never_imported():
    program = "import sys; from clapstream import clap; [getattr(clap, name) for name in clap.__all__]; "
    program += "print('transformers' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "False"
