"""`clapstream forget`: delete what a node left on the broker and in Home Assistant."""

from __future__ import annotations

import argparse

from clapstream.commands.reporting import FAILURE, OK, USAGE, print_error, settings_or_print_errors
from clapstream.sinks.mqtt.forget import BrokerError, Forgotten, NodeOnlineError, forget_node
from clapstream.sinks.mqtt.topics import Topics


def run(options: argparse.Namespace) -> int:
    """Delete the retained topics of one node."""
    settings = settings_or_print_errors(options.config)
    if settings is None:
        return USAGE
    if settings.mqtt is None:
        print_error("there is no broker: `mqtt` is null in the configuration")
        return USAGE
    try:
        topics = Topics.of(
            options.base_topic or settings.mqtt.base_topic,
            options.node,
            options.discovery_prefix or settings.mqtt.discovery_prefix,
        )
    except ValueError as error:
        print_error(error)
        return USAGE
    try:
        return _report(topics, forget_node(settings.mqtt, topics, force=options.force))
    except (BrokerError, NodeOnlineError) as error:
        print_error(error)
        return FAILURE


def _report(topics: Topics, result: Forgotten) -> int:
    for topic, reason in result.refused.items():
        print_error(f"broker refused to delete {topic} ({reason})")
    if not result.deleted and not result.refused:
        print(f"nothing is retained for node {topics.node} below {topics.base}")
    else:
        print(f"deleted {len(result.deleted)} retained topics of node {topics.node}")
    return FAILURE if result.refused else OK
