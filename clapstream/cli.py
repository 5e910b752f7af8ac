"""The command line. Exit codes: 0 done or stopped by a signal, 1 runtime failure, 2 usage or configuration error.

Heavy modules (torch, PortAudio, rich) are imported by the command that needs them, so `--help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from clapstream import __version__
from clapstream.process.imports import quick_imports
from clapstream.process.memory import share_arenas
from clapstream.process.shutdown import hold_hangups, leave_at_a_signal
from clapstream.process.terminal import Terminal, prepare_standard_streams
from clapstream.process.threads import share_the_machine
from clapstream.urls import may_hold_credentials

OK = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    prepare_standard_streams()
    options = build_parser().parse_args(arguments)
    _set_up_logging(options.verbose)
    if options.always_on:
        share_the_machine()
        share_arenas()
        options.terminal = Terminal.of_process()
        # Until the daemon has something to bring down: importing torch takes seconds.
        leave_at_a_signal()
        hold_hangups(terminal_closes=options.terminal.controlling)
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


class _Parser(argparse.ArgumentParser):
    """Repeats no argument that may hold a password: what a terminal shows ends in a log or a forum."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments and exit with 2."""
        if may_hold_credentials(message):
            message = (
                "a URL or a password is no argument here (it is not repeated, it may be secret); "
                "cameras and the broker go into clapstream.yaml"
            )
        super().error(message)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="clapstream", description="Tells what a home sounds like: labels in plain words, events over MQTT."
    )
    parser.add_argument("--version", action="version", version=f"clapstream {__version__}")
    common = _Parser(add_help=False)
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
    tag.add_argument(
        "files",
        nargs="+",
        type=_sound_file,
        metavar="FILE",
        help="sound files, folders with sound files, or - for a file on standard input",
    )
    tag.add_argument(
        "--label", type=_label, action="append", metavar="TEXT", help="listen for this instead of the label file's"
    )
    tag.add_argument("--json", action="store_true", help="one JSON object a line")
    tag.add_argument("--all", action="store_true", help="every label, not only those above their threshold")
    _add_config(tag)

    devices = add("devices", "devices:run", "list the microphones of PulseAudio, PipeWire and PortAudio")
    devices.add_argument("--json", action="store_true", help="one JSON object a line")
    _add_config(add("check", "check:run", "check the configuration and name everything that is wrong with it"))

    forget = add("forget", "forget:run", "delete what a node left on the broker and in Home Assistant")
    forget.add_argument("node", metavar="NODE", help="the old name, as `node` in clapstream.yaml")
    forget.add_argument("--base-topic", metavar="TOPIC", help="where it published (default: mqtt.base_topic)")
    forget.add_argument("--discovery-prefix", metavar="TOPIC", help="default: mqtt.discovery_prefix")
    forget.add_argument("--force", action="store_true", help="even if the node is said to be online")
    _add_config(forget)

    bench = add("bench", "bench:run", "measure the model's speed on this machine", always_on=True)
    bench.add_argument("--json", action="store_true", help="one JSON object")
    _add_config(bench)

    evaluate = add("eval", "evaluate:run", "zero-shot accuracy on a list of labelled files")
    evaluate.add_argument("csv", type=_path, metavar="CSV", help="columns file, label and, if you like, fold")
    evaluate.add_argument("--checkpoint", type=_not_url, default="bundled", help="bundled, a directory or a hub id")
    evaluate.add_argument("--audio-folder", type=_path, help="where the files are (default: beside the CSV)")
    evaluate.add_argument("--template", default=None, help="prompt, with {label} in it")
    evaluate.add_argument("--device", default="auto", help="auto, cpu, cuda")
    evaluate.add_argument("--json", action="store_true", help="one JSON object, with a list of figures per label")
    evaluate.add_argument("--plot", type=_path, metavar="PNG", help="write a picture of the confusions")
    return parser


def _not_url(text: str) -> str:
    """Return the text; refuse a URL before a message can repeat it as something that does not exist."""
    if re.search(r":/|:[^/]*@", text):
        raise argparse.ArgumentTypeError(f"{text} is a URL")  # which `_Parser.error` does not repeat
    return text


def _label(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return _not_url(text)


def _path(text: str) -> Path:
    """A path, which may be named like a URL only if it exists."""
    path = Path(text)
    try:
        return path if path.exists() else Path(_not_url(text))
    except OSError:  # a name that is too long, a folder that may not be read
        return Path(_not_url(text))


def _sound_file(name: str) -> Path:
    """The path of a file; only `-` itself is standard input, and `./-` a file of that name."""
    path = _path(name)
    return path.absolute() if path == Path("-") and name != "-" else path


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", type=_path, metavar="FILE", help="clapstream.yaml (default: the packaged one)"
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
    for chatty in ("asyncio", "aiomqtt", "matplotlib", "httpx", "httpx2", "httpcore", "httpcore2", "filelock"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It shows the whole URL of each failed attempt, which may hold a password; the failure itself is reported.
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)
