"""Renders the chat template on standard input, in a process with little time and memory: see `templates`.

This file is run as a script and imports nothing of this package. Errors of a template are not its concern: the caller
sees them when it renders the template itself. It ends with an error only if a template uses too much.
"""

from __future__ import annotations

import json
import resource
import sys

SECONDS, BYTES = 2, 1 << 30
"""processor time and memory that all renderings together may use"""
TOO_LARGE = 3
"""exit code of this script if a template takes more memory"""
TURNS = [
    {"role": "user", "content": "Hello."},
    {"role": "assistant", "content": "Good morning."},
    {"role": "user", "content": "How are you?"},
]


def main() -> None:
    """Renders the template for conversations of one, two and three turns."""
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    given = json.loads(sys.stdin.read())
    named = given.get("default", "") if isinstance(given, dict) else given
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment.filters["tojson"] = lambda value, **options: json.dumps(value)
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": lambda format: "01 Jan 2026"}
    environment.globals["dict"] = dict
    for number in (1, 2, 3):
        try:
            template = environment.from_string(named)
            template.render(messages=TURNS[:number], add_generation_prompt=number != 2, tools=None, documents=None)
        except MemoryError:
            sys.exit(TOO_LARGE)
        except Exception:  # see above
            continue


if __name__ == "__main__":
    main()
