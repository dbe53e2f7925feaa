"""YAML files of strangers: what is written in a few bytes can stand for more than memory holds."""

from pathlib import Path
from typing import Any

import yaml

from img2img.errors import DataError

MAX_BYTES = 2**16  # a config has a few thousand; more would take seconds to parse
MAX_VALUES = 10_000  # with all aliases written out
MAX_DEPTH = 20


def load(path: Path) -> Any:
    """The values of a YAML or JSON file. Raises DataError for a file that can't be read, is larger
    or more deeply nested than a config, or has names that are no strings.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"The config {path} is larger than {MAX_BYTES // 2**10} KiB.")
        loader = yaml.SafeLoader(path.read_text())
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, path, {})
        return loader.construct_document(node)
    except RecursionError:
        raise _too_deep(path) from None
    # ValueError: also of a date that does not exist, and of a number of thousands of digits.
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"The config {path} can't be read: {reason}") from None


def _count(node: yaml.Node, path: Path, counted: dict[int, int], depth: int = 0) -> int:
    """The number of values in the node, where an alias counts as what it stands for.

    counted: the values of the nodes that were visited, by identity; 0 while one is visited.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if depth > MAX_DEPTH:
        raise _too_deep(path)
    if id(node) in counted:
        if not counted[id(node)]:
            raise DataError(f"The config {path} has a value that contains itself.")
        return counted[id(node)]
    counted[id(node)] = 0
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                line = key.start_mark.line + 1
                raise DataError(
                    f"The config {path}, line {line}: the name of a setting is not a text. Put it "
                    "in quotation marks if it is meant as one."
                )
        children = [value for _, value in node.value]
    else:
        children = node.value
    total = 1 + sum(_count(child, path, counted, depth + 1) for child in children)
    if total > MAX_VALUES:
        raise DataError(
            f"The config {path} has more than {MAX_VALUES:,} values, with those that its aliases "
            "stand for. A config has a few hundred."
        )
    counted[id(node)] = total
    return total


def _too_deep(path: Path) -> DataError:
    return DataError(f"The config {path} is nested more than {MAX_DEPTH} levels deep.")
