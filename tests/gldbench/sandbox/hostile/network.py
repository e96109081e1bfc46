"""Connects to the host's server and to the internet, and opens a server. Right where one of these worked."""

import socket


def f(x):
    for address in (("127.0.0.1", int("@PORT@")), ("1.1.1.1", 53), ("::1", int("@PORT@"))):
        try:
            socket.create_connection(address, timeout=0.5)
        except OSError:
            continue
        return x + 1
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
    return x + 1
