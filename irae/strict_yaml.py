"""Reading of YAML in which a repeated key is an error; the standard reader drops the first."""

from __future__ import annotations

from typing import Any

import yaml

YAML_FAULTS = (yaml.YAMLError, ValueError, RecursionError)
"""Errors of malformed text; impossible dates and numbers of thousands of digits: ValueError."""


class RepeatedKeyError(Exception):
    """A key that occurs twice in one mapping.

    Attributes:
        key: the key.
        line: line of its second occurrence, from 1.
    """

    def __init__(self, key: str, line: int) -> None:
        super().__init__(key)
        self.key, self.line = key, line


def parse_yaml(text: str) -> Any:
    """Parse YAML of plain values.

    Raises:
        RepeatedKeyError: a key occurs twice in one mapping.
        YAMLError: as each of `YAML_FAULTS`, the text is malformed.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    nodes, visited = [root] if root is not None else [], set()
    while nodes:
        node = nodes.pop()
        if id(node) in visited:
            continue  # An alias of a node that was seen elsewhere.
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            nodes += [each for pair in node.value for each in pair]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value
    return yaml.safe_load(text)


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if (key.tag, key.value) in seen:
            raise RepeatedKeyError(key.value, key.start_mark.line + 1)
        seen.add((key.tag, key.value))
