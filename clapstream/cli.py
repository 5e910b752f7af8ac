"""The command line. Exit codes: 0 done or stopped by a signal, 1 runtime failure, 2 usage or configuration error.

Heavy modules (torch, PortAudio, rich) are imported by the command that needs them, so `--help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from clapstream import __version__
from clapstream.leaving import leave_at_a_signal
from clapstream.memory import share_arenas
from clapstream.quick_imports import quick_imports
from clapstream.threads import share_the_machine

OK = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    _set_up_logging(options.verbose)
    if options.always_on:
        share_the_machine()
        share_arenas()
        leave_at_a_signal()  # until the daemon has something to bring down: importing torch takes seconds
    module, _, function = options.command.partition(":")
    try:
        with quick_imports():
            command = importlib.import_module(f"clapstream.commands.{module}")
        exit_code: int = getattr(command, function)(options)
        return exit_code
    except KeyboardInterrupt:
        return OK
    except BrokenPipeError:
        # The reader of our output went away (`| head`); what is left in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="clapstream", description="Tells what a home sounds like: labels in plain words, events over MQTT."
    )
    parser.add_argument("--version", action="version", version=f"clapstream {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="log every window too")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: str, summary: str, *, always_on: bool = False) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary, parents=[common])
        added.set_defaults(command=command, always_on=always_on)
        return added

    run = add("run", "listen:run", "listen to the configured sources until stopped", always_on=True)
    _add_config(run)
    run.add_argument(
        "--dashboard",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="live view (default: on a terminal)",
    )

    demo = add(
        "demo",
        "listen:run_demo",
        "listen to a minute of recorded sounds: no microphone, broker or network needed",
        always_on=True,
    )
    demo.add_argument("--dashboard", action=argparse.BooleanOptionalAction, default=None, help="as for run")

    tag = add("tag", "tag:run", "tell what is in sound files, window by window")
    tag.add_argument("files", nargs="+", type=Path, metavar="FILE", help="any format libsndfile reads")
    tag.add_argument("--label", action="append", metavar="TEXT", help="listen for this instead of the label file's")
    tag.add_argument("--json", action="store_true", help="one JSON object a line")
    tag.add_argument("--all", action="store_true", help="every label, not only those above their threshold")
    _add_config(tag)

    add("devices", "devices:run", "list the microphones that PortAudio sees")
    _add_config(add("check", "check:run", "check the configuration and name everything that is wrong with it"))

    forget = add("forget", "forget:run", "delete what a node left on the broker and in Home Assistant")
    forget.add_argument("node", metavar="NODE", help="the old name, as `node` in clapstream.yaml")
    forget.add_argument("--base-topic", metavar="TOPIC", help="where it published (default: mqtt.base_topic)")
    forget.add_argument("--discovery-prefix", metavar="TOPIC", help="default: mqtt.discovery_prefix")
    forget.add_argument("--force", action="store_true", help="even if the node is said to be online")
    _add_config(forget)

    _add_config(add("bench", "bench:run", "measure how fast this machine hears", always_on=True))

    evaluate = add("eval", "evaluate:run", "zero-shot accuracy on a list of labelled files")
    evaluate.add_argument("csv", type=Path, metavar="CSV", help="columns file, label and, if you like, fold")
    evaluate.add_argument("--checkpoint", default="bundled", help="bundled, a directory or a hub id")
    evaluate.add_argument("--audio-folder", type=Path, help="where the files are (default: beside the CSV)")
    evaluate.add_argument("--template", default=None, help="prompt, with {label} in it")
    evaluate.add_argument("--device", default="auto", help="auto, cpu, cuda")
    evaluate.add_argument("--plot", type=Path, metavar="PNG", help="write a picture of the confusions")
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="clapstream.yaml (default: the packaged one)"
    )


def _set_up_logging(verbose: bool) -> None:
    """Log to stderr; under systemd with its level prefixes, which also brings its own time stamps."""
    if "JOURNAL_STREAM" in os.environ:
        logging.addLevelName(logging.DEBUG, "<7>")
        logging.addLevelName(logging.INFO, "<6>")
        logging.addLevelName(logging.WARNING, "<4>")
        logging.addLevelName(logging.ERROR, "<3>")
        line = "%(levelname)s%(name)s: %(message)s"
    else:
        line = "%(asctime)s %(levelname)-7s %(message)s"
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format=line, stream=sys.stderr)
    for chatty in ("asyncio", "aiomqtt", "matplotlib", "httpx", "filelock"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
