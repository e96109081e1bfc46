"""Reports a missing module whose name cannot be stored or printed."""


def f(x):
    raise ModuleNotFoundError(name="\udfff\x1b[0m<script>")
