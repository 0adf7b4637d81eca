"""The registry of tasks: nothing outside it spells a task's name, and no lookup needs PyTorch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from irae.errors import UsageError
from irae.models.networks.registry import NETWORKS, build_network, resolve_options
from irae.tasks import all_tasks, filling_task, get_task, register, task_names
from irae.tasks.matching import missing_input, tasks_for

PACKAGE = Path(__file__).resolve().parent.parent.parent / "irae"

# Names that mean a packaged model, a preset, what a stranger's file was trained for, the task that
# an option of the command line belongs to, a key of JSON, or the format of a file.
ELSEWHERE = {
    "cli/research/eval.py": {"denoise", "jpeg", "inpaint"},
    "cli/pictures/roundtrip.py": {"denoise"},
    "evaluation/speed/bench.py": {"denoise"},
    "models/checkpoints/third_party.py": {"denoise", "jpeg"},
    "models/networks/irae.py": {"inpaint", "photo"},
    "models/networks/unet.py": {"inpaint"},
    "doctor.py": {"denoise"},
    "restoring/automatic/inspection.py": {"jpeg"},
    "restoring/restorer.py": {"denoise"},
    "ui/routes/views.py": {"jpeg"},
}


def test_only_tasks_spell_the_names_of_tasks() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE).as_posix()
        if relative.startswith("tasks/"):
            continue
        found = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and node.value in task_names()
        }
        assert found <= ELSEWHERE.get(relative, set()), relative


@pytest.mark.process
def test_names_levels_and_schemas_need_no_torch() -> None:
    code = (
        "import sys\n"
        "from irae.tasks import all_tasks\n"
        "for task in all_tasks():\n"
        "    task.section(); task.validation_section()\n"
        "    if task.default_levels: [level.describe() for level in task.levels()]\n"
        "assert not {'torch', 'PIL', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", task_names())
def test_every_task_says_what_it_is(name: str) -> None:
    task = get_task(name)
    assert task.name == name
    assert task.label
    assert task.done
    assert task.levels_help
    for level in task.levels() if task.default_levels else []:
        assert level.task == name
        assert level.describe()
        assert task.section.model_validate(level.training(64, "standard"))
        assert task.validation_section.model_validate(level.validation())


def test_an_unknown_task_is_one_line_with_the_list() -> None:
    with pytest.raises(UsageError, match="task 'paint' is unknown; use denoise, jpeg"):
        get_task("paint")
    with pytest.raises(UsageError, match="registered already"):
        register(get_task("jpeg"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("denoise", "25,x"),
        ("denoise", "-1"),
        ("denoise", "nan"),
        ("denoise", "256"),
        ("jpeg", "0"),
        ("jpeg", "12.5"),
        ("inpaint", "center"),
        ("inpaint", "box:0"),
        ("inpaint", "middle:9"),
        ("inpaint", "center:" + "9" * 5000),
        ("inpaint", "irregular"),
    ],
)
def test_levels_that_are_none_are_refused(name: str, text: str) -> None:
    with pytest.raises(UsageError):
        get_task(name).levels(text)
    with pytest.raises(UsageError, match="knows no"):
        get_task(name).level("25", colour=True)


def test_networks_and_tasks_are_matched_by_what_one_takes_and_the_other_gives() -> None:
    for name, expected in (("ffdnet", ["denoise"]), ("pconv", ["inpaint"])):
        preset = next(iter(NETWORKS[name].presets), None)
        network = build_network(name, resolve_options(name, preset, {}))
        assert [task.name for task in tasks_for(network)] == expected
    network = build_network("dncnn", {"width": 8, "layers": 3})
    assert all(missing_input(task, network) is None for task in all_tasks())
    assert filling_task().needs_mask
