"""Uses threads to get more processor time than one program may have. Right where it got it."""

import threading
import time

import numpy as np

matrix = np.ones((200, 200))


def work():
    while time.process_time() < 60:
        matrix @ matrix


def f(x):
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return x + 1
