"""A busy port is named before anything starts."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from stack.errors import StackError
from stack.settings import LOOPBACK


def check_ports_free(ports: Mapping[str, int]) -> None:
    """Check that every port is free and named once.

    Raises:
        StackError: names each port that is taken or given twice, with its variable.
    """
    violations = [
        f"port {port} is in use; set {variable} to a free one"
        for variable, port in ports.items()
        if _is_busy(port)
    ]
    by_port: dict[int, list[str]] = {}
    for variable, port in ports.items():
        by_port.setdefault(port, []).append(variable)
    violations += [
        f"port {port} is given twice: {' and '.join(variables)}"
        for port, variables in by_port.items()
        if len(variables) > 1
    ]
    if violations:
        raise StackError("; ".join(violations))


def _is_busy(port: int) -> bool:
    # Airflow's log servers listen on every address, so a wildcard bind is the honest question.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0
