"""Home Assistant's short forms of discovery options: the same meaning in half the bytes.

From https://www.home-assistant.io/integrations/mqtt/#supported-abbreviations-in-mqtt-discovery-messages, in
homeassistant/components/mqtt/abbreviations.py. `~` stands for a component's base topic, at the start of a topic.
"""

from __future__ import annotations

from collections.abc import Mapping

Json = dict[str, object]

_OPTIONS = {
    "availability": "avty",
    "availability_mode": "avty_mode",
    "command_topic": "cmd_t",
    "components": "cmps",
    "device": "dev",
    "device_class": "dev_cla",
    "enabled_by_default": "en",
    "entity_category": "ent_cat",
    "event_types": "evt_typ",
    "icon": "ic",
    "json_attributes_topic": "json_attr_t",
    "origin": "o",
    "payload_available": "pl_avail",
    "payload_not_available": "pl_not_avail",
    "payload_off": "pl_off",
    "payload_on": "pl_on",
    "platform": "p",
    "state_class": "stat_cla",
    "state_topic": "stat_t",
    "suggested_display_precision": "sug_dsp_prc",
    "topic": "t",
    "unique_id": "uniq_id",
    "unit_of_measurement": "unit_of_meas",
    "value_template": "val_tpl",
}
_DEVICE = {"identifiers": "ids", "manufacturer": "mf", "model": "mdl", "sw_version": "sw"}
_ORIGIN = {"sw_version": "sw", "support_url": "url"}

DEFAULTS: dict[str, object] = {
    "payload_available": "online",
    "payload_not_available": "offline",
    "payload_on": "ON",
    "payload_off": "OFF",
}
"""What Home Assistant takes where these are left out."""


def abbreviate(payload: Mapping[str, object], base: str) -> Json:
    """A device payload with short keys, without what is the default, and with `base` as `~`."""
    short: Json = {}
    for key, value in payload.items():
        if key == "components" and isinstance(value, dict):
            value = {name: _short_component(entry, base) for name, entry in value.items()}
        elif key in ("device", "origin") and isinstance(value, dict):
            value = _renamed(value, _DEVICE if key == "device" else _ORIGIN)
        elif key == "availability":
            value = _short_availability(value)
        short[_OPTIONS.get(key, key)] = value
    return short


def expand(payload: Mapping[str, object]) -> Json:
    """The options of a payload under their full names, in components too; it may be anything."""
    full = _renamed(payload, _FULL)
    entries = full.get("components")
    if isinstance(entries, dict):
        full["components"] = {
            name: _full_component(entry) if isinstance(entry, dict) else entry for name, entry in entries.items()
        }
    return full


_FULL = {short: full for full, short in _OPTIONS.items()}


def _renamed(options: Mapping[str, object], names: Mapping[str, str]) -> Json:
    return {names.get(key, key): value for key, value in options.items()}


def _short_component(component: Mapping[str, object], base: str) -> Json:
    if set(component) == {"platform"}:
        return {"p": component["platform"]}
    short: Json = {"~": base}
    for key, value in component.items():
        if key in DEFAULTS and value == DEFAULTS[key]:
            continue
        if key == "availability":
            value = _short_availability(value, base)
        short[_OPTIONS.get(key, key)] = _short_topic(key, value, base)
    return short


def _short_availability(entries: object, base: str | None = None) -> object:
    if not isinstance(entries, list):
        return entries
    return [
        {"t": entry["topic"] if base is None else _short_topic("topic", entry["topic"], base)} for entry in entries
    ]


def _short_topic(key: str, value: object, base: str) -> object:
    is_below = key.endswith("topic") and isinstance(value, str) and value.startswith(f"{base}/")
    return f"~{str(value)[len(base) :]}" if is_below else value


def _full_component(component: Mapping[str, object]) -> Json:
    full = _renamed(component, _FULL)
    base = full.pop("~", None)
    listed = full.get("availability")
    if isinstance(listed, list):
        full["availability"] = [_renamed(entry, _FULL) if isinstance(entry, dict) else entry for entry in listed]
        for entry in full["availability"]:  # type: ignore[attr-defined]
            if isinstance(entry, dict) and "topic" in entry:
                entry["topic"] = _full_topic(entry["topic"], base)
    for key in [key for key in full if key.endswith("topic")]:
        full[key] = _full_topic(full[key], base)
    return full


def _full_topic(value: object, base: object) -> object:
    starts = isinstance(base, str) and isinstance(value, str) and value.startswith("~")
    return f"{base}{str(value)[1:]}" if starts else value
