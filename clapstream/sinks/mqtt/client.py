"""aiomqtt's client with one fix, and the end of an attempt to connect that aiomqtt leaves open."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import aiomqtt
import paho.mqtt.client as paho


class Client(aiomqtt.Client):
    """aiomqtt's client, except that it watches its socket for writing at once.

    aiomqtt 2.5 starts to watch one iteration of the event loop later. If the connection breaks meanwhile, the
    socket is closed by then: a traceback in the log, or the next connection's socket watched under the old number.
    An error while writing ends the connection, as in aiomqtt.
    """

    def _on_socket_register_write(self, client: paho.Client, userdata: object, sock: Any) -> None:
        def write() -> None:
            try:
                client.loop_write()
            except Exception as error:
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # the thread that connects
            super()._on_socket_register_write(client, userdata, sock)
        else:
            loop.add_writer(sock.fileno(), write)


def close_socket(client: aiomqtt.Client) -> None:
    """Close the socket of an attempt to connect that failed.

    aiomqtt leaves it open when the broker does not answer, and has no call for it. A broker that was only paused
    would later accept it, and close the connection that we have by then.
    """
    # If the attempt was cancelled, aiomqtt's callback raises for its own cancelled future.
    with contextlib.suppress(asyncio.CancelledError):
        client._client.disconnect()
