"""Ports on the loopback interface: a free one, or a clear sentence about the one asked for."""

import socket

from qcourse.common import QCourseError

HOST = "127.0.0.1"


def choose_port(port: int | None) -> int:
    """Return `port` if it can be bound, or a free one for None; QCourseError if it is taken or no port."""
    if port is not None and not 0 < port < 65536:
        raise QCourseError(f"{port} is no port; give a number from 1024 to 65535, or none to have one chosen")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port or 0))
        except OSError as error:
            raise QCourseError(
                f"port {port} on {HOST} is in use or not allowed; choose another, or stop what holds it"
            ) from error
        return probe.getsockname()[1]
