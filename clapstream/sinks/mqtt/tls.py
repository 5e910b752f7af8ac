"""The TLS context for the broker."""

from __future__ import annotations

import ssl
from typing import Any

from clapstream.config import TlsSettings


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """A context that checks the broker's certificate as the settings say; raises OSError for unusable files."""
    ca_file = str(tls.ca_file) if tls.ca_file else None
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags = ssl.create_default_context().verify_flags
    if ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(ca_file)
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    context.check_hostname = not tls.insecure_skip_host_check
    context.server_name = tls.server_name
    context.sslsocket_class = _Socket
    return context


class _Context(ssl.SSLContext):
    """Asks for and checks `server_name` instead of the host that is connected to, which is all paho passes on."""

    server_name: str | None = None

    def wrap_socket(self, *arguments: Any, **options: Any) -> Any:
        if self.server_name is not None:
            options["server_hostname"] = self.server_name
        return super().wrap_socket(*arguments, **options)


class _Socket(ssl.SSLSocket):
    """Closes itself when the handshake fails, which paho leaves to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        """Raises OSError when the broker cannot be trusted or does not trust us."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise
