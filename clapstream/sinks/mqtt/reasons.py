"""Reasons of failures in words, with a hint what to do where there is one."""

from __future__ import annotations

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

UNSPECIFIED_ERROR = 128
UNSUPPORTED_PROTOCOL_VERSION = 132
SESSION_TAKEN_OVER = 142
RETAIN_NOT_SUPPORTED = 154
QOS_NOT_SUPPORTED = 155

_WORDS = {
    "Disconnected during message iteration": "connection lost",
    "Operation timed out": "no answer",
}
_HINTS = {
    133: "the broker does not accept our client id",
    134: "check mqtt.username and the password",
    135: "check the user and the access rules of the broker",
    SESSION_TAKEN_OVER: "another client connected with our client id; was this installation copied?",
    RETAIN_NOT_SUPPORTED: "continuing without retained messages",
    QOS_NOT_SUPPORTED: "continuing with QoS 0",
}


def reason_of(fault: BaseException, protocol: str = "5") -> str:
    """Why a connection failed, in words; of a group, the first failure."""
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    code = reason_code(fault)
    if code is not None:
        return describe(code, protocol)
    text = str(fault) or type(fault).__name__
    if "certificate is not valid for" in text or "Hostname mismatch" in text:
        return f"{text}; if its certificate has another name, set mqtt.tls.server_name"
    return _WORDS.get(text, text)


def reason_code(fault: BaseException | None) -> ReasonCode | None:
    """The MQTT reason code behind a fault (of CONNACK or DISCONNECT), if the broker sent one."""
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    while isinstance(fault, aiomqtt.MqttError):
        rc = getattr(fault, "rc", None)
        if isinstance(rc, ReasonCode):
            return rc
        fault = fault.__cause__
    return None


def describe(code: ReasonCode, protocol: str = "5") -> str:
    """The name that the MQTT specification gives to a reason code, and what to do about it."""
    if code.value == UNSPECIFIED_ERROR:
        return "connection lost"  # also what paho says where the connection just ended
    if code.value == UNSUPPORTED_PROTOCOL_VERSION:
        other = '"3.1.1"' if protocol == "5" else '"5"'
        return f"{code.getName()}: use protocol: {other}"
    name = str(code)
    hint = _HINTS.get(code.value)
    return f"{name}: {hint}" if hint else name


def describe_error(code: MQTTErrorCode) -> str:
    """The text of one of paho's own error codes."""
    return paho.error_string(code).rstrip(".").lower()
