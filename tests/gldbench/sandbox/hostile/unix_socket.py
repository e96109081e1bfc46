"""Talks to the host by sockets without a network; right where one could be made."""

import socket


def f(x):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0gldbench-hostile-@PORT@")
    return x + 1
