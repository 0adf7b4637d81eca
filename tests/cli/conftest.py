"""The program run in this process."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from irae.cli.app import main


@pytest.fixture
def irae(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., CompletedProcess[str]]:
    """Run the program in this process, errors and exit codes as a shell would see them."""

    def run(*arguments: object) -> CompletedProcess[str]:
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr("sys.argv", ["irae", *words])
        capsys.readouterr()
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        else:
            code = 0
        said = capsys.readouterr()
        return CompletedProcess(words, code, said.out, said.err)

    return run
