"""Limits of a connection to another computer: who the other side is, and until when."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052


def peer_is_public(connection: socket.socket) -> bool:
    """Return whether the other side of a TCP connection is an address of the public network."""
    return is_public(connection.getpeername()[0].partition("%")[0])


def is_public(text: str) -> bool:
    """Return whether an address is of the public network, also the IPv4 one within an IPv6 one."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_site_local:
            return False
        inner = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return inner.is_global
    return address.is_global


def shut_after(
    connection: socket.socket, seconds: float, expired: Callable[[], None] = lambda: None
) -> threading.Timer:
    """Start and return a timer that ends a connection, whatever the other side sends until then.

    `expired` is called first. Callers must cancel the timer when they are done.
    """

    def shut() -> None:
        expired()
        with suppress(OSError):
            # not that of a TLS socket, which would return what is still to come undecrypted
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, seconds), shut)
    timer.daemon = True
    timer.start()
    return timer
