"""Connects to the host through a Unix socket, which needs no network. Right where it could."""

import socket


def f(x):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0gldbench-hostile-@PORT@")
    return x + 1
