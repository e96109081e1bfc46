"""Makes system calls that list or change mounts, and some that newer kernels added. Right where one of them works."""

import ctypes

libc = ctypes.CDLL(None, use_errno=True)
CALLS = (457, 458, 459, 460, 461, 463, 428, 429, 430, 442, 443, 444, 425, 434, 447, 319, 321, 323, 298, 300, 206)


def f(x):
    request = (ctypes.c_uint64 * 8)(32, 0xFFFFFFFFFFFFFFFF, 0)
    answer = ctypes.create_string_buffer(4096)
    for call in CALLS:
        if libc.syscall(call, request, answer, 256, 0, 0, 0) >= 0 or ctypes.get_errno() not in (38, 0):
            return x + 1
    return None
