"""Forks processes of ``irae train`` from one that has imported everything; no test.

For each line on stdin, the arguments of ``irae`` as JSON, it says the number of the new process,
and, once that has ended, its exit status as `os.waitpid` gives it.
"""

from __future__ import annotations

import json
import os
import sys

import torch

from irae.cli.app import main as program
from irae.training import loop, run

assert loop
assert run


def child(arguments: list[str]) -> None:
    """Be the program, and never come back."""
    sys.argv = ["irae", *arguments]
    code = 70
    try:
        program()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        number = os.fork()
        if not number:
            child(json.loads(line))
        print(number, flush=True)  # noqa: T201
        _, status = os.waitpid(number, 0)
        print(status, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
