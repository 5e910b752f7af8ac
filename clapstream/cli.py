"""The command line. Exit codes: 0 done or stopped by a signal, 1 runtime failure, 2 usage or configuration error.

Heavy modules (torch, PortAudio, rich) are imported by the command that needs them, so that `--help` is fast.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from clapstream import __version__
from clapstream.commands.arguments import SecretSafeParser, file_path, label_text, not_a_url, sound_file
from clapstream.process.exit_codes import OK
from clapstream.process.imports import fast_imports
from clapstream.process.log_setup import set_up_logging
from clapstream.process.memory import limit_arenas
from clapstream.process.shutdown import exit_on_signal, handle_early_hangups
from clapstream.process.standard_streams import prepare_standard_streams
from clapstream.process.terminal import Terminal
from clapstream.process.threads import set_openmp_defaults


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    prepare_standard_streams()
    options = build_parser().parse_args(arguments)
    set_up_logging(options.verbose)
    if options.always_on:
        set_openmp_defaults()
        limit_arenas()
        options.terminal = Terminal.of_process()
        # Importing torch takes seconds, and until the daemon runs there is nothing to close.
        exit_on_signal()
        handle_early_hangups(terminal_closes=options.terminal.controlling)
    module, _, function = options.command.partition(":")
    try:
        with fast_imports():
            command = importlib.import_module(f"clapstream.commands.{module}")
        exit_code: int = getattr(command, function)(options)
        return exit_code
    except KeyboardInterrupt:
        return OK
    except BrokenPipeError:
        # The reader of our output has exited (`| head`): discard what is still buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


class _Commands:
    """The subparsers of the commands; `command` is the module and the function that run one."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
        self._common = SecretSafeParser(add_help=False)
        self._common.add_argument(
            "-v", "--verbose", action="store_true", help="log debug messages, such as the scores of every window"
        )

    def add(self, name: str, command: str, summary: str, *, always_on: bool = False) -> argparse.ArgumentParser:
        parser = self._subparsers.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", parents=[self._common]
        )
        parser.set_defaults(command=command, always_on=always_on)
        return parser


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = SecretSafeParser(
        prog="clapstream",
        description="Recognizes sounds by labels in plain words and publishes events over MQTT.",
        epilog="exit codes: 0 done or stopped by a signal, 1 runtime failure, 2 usage or configuration error",
    )
    parser.add_argument("--version", action="version", version=f"clapstream {__version__}")
    commands = _Commands(parser)
    _add_run_and_demo(commands)
    _add_tag(commands)
    _add_devices_and_check(commands)
    _add_forget(commands)
    _add_bench_and_eval(commands)
    return parser


def _add_run_and_demo(commands: _Commands) -> None:
    run = commands.add(
        "run", "listen:run", "listen to the configured sources and publish events until stopped", always_on=True
    )
    _add_config(run)
    demo = commands.add(
        "demo",
        "listen:run_demo",
        "listen to a one-minute recording; needs no microphone, broker or network",
        always_on=True,
    )
    for parser in (run, demo):
        parser.add_argument(
            "--dashboard",
            action=argparse.BooleanOptionalAction,
            default=None,
            help="show the live dashboard instead of log lines (default: if standard output is a terminal)",
        )


def _add_tag(commands: _Commands) -> None:
    tag = commands.add("tag", "tag:run", "print the labels heard in sound files, window by window")
    tag.add_argument(
        "files",
        nargs="+",
        type=sound_file,
        metavar="FILE",
        help="sound file, folder of sound files, or - for a file on standard input",
    )
    tag.add_argument(
        "--label",
        type=label_text,
        action="append",
        metavar="TEXT",
        help="listen for TEXT instead of the labels of the label file (can be repeated)",
    )
    _add_json(tag)
    tag.add_argument(
        "--all", action="store_true", help="print every label, not only those that reach their threshold"
    )
    _add_config(tag)


def _add_devices_and_check(commands: _Commands) -> None:
    devices = commands.add("devices", "devices:run", "list the microphones of PulseAudio, PipeWire and PortAudio")
    _add_json(devices)
    _add_config(commands.add("check", "check:run", "check the configuration and print every error in it"))


def _add_forget(commands: _Commands) -> None:
    forget = commands.add(
        "forget", "forget:run", "delete the retained messages of a node, and with them its Home Assistant devices"
    )
    forget.add_argument("node", metavar="NODE", help="name of the node, as `node` in its clapstream.yaml")
    forget.add_argument("--base-topic", metavar="TOPIC", help="its base topic (default: mqtt.base_topic)")
    forget.add_argument(
        "--discovery-prefix", metavar="TOPIC", help="its discovery prefix (default: mqtt.discovery_prefix)"
    )
    forget.add_argument("--force", action="store_true", help="delete them even if the node is online")
    _add_config(forget)


def _add_bench_and_eval(commands: _Commands) -> None:
    bench = commands.add("bench", "bench:run", "measure the model's speed on this machine", always_on=True)
    _add_json(bench, "print one JSON object")
    _add_config(bench)
    evaluate = commands.add("eval", "evaluate:run", "measure zero-shot accuracy on a list of labelled files")
    evaluate.add_argument(
        "csv", type=file_path, metavar="CSV", help="list with the columns file, label and optionally fold"
    )
    evaluate.add_argument(
        "--checkpoint",
        type=not_a_url,
        default="bundled",
        help="bundled, a directory or a Hugging Face Hub id (default: %(default)s)",
    )
    evaluate.add_argument(
        "--audio-folder", type=file_path, metavar="FOLDER", help="folder of the files (default: that of the CSV)"
    )
    evaluate.add_argument(
        "--template", default=None, help="prompt, with {label} in it (default: This is a sound of {label}.)"
    )
    evaluate.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    _add_json(evaluate, "print one JSON object, with a list of figures per label")
    evaluate.add_argument("--plot", type=file_path, metavar="PNG", help="write the confusion matrix as a picture")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", type=file_path, metavar="FILE", help="clapstream.yaml (default: the one in the package)"
    )


def _add_json(parser: argparse.ArgumentParser, help_text: str = "print one JSON object per line") -> None:
    parser.add_argument("--json", action="store_true", help=help_text)
