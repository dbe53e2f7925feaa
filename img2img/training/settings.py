"""Settings of a command line or a file, and their precedence.

From the lowest to the highest precedence: the defaults of the method, the preset, the --config
file, the options. The merged values go to RunConfig.build, which validates them.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.methods import METHODS
from img2img.methods.route import CHOOSING, of_other_networks, rows_of
from img2img.ranges import items_of
from img2img.training.config import (
    PLACE,
    RunConfig,
    did_you_mean,
    in_words,
    option,
)

NONE = {"", "none", "null"}  # spellings of None
TRUTH_VALUES = {"true", "false", "yes", "no", "on", "off", "1", "0"}  # may follow a switch
FOLDERS = {
    "a",
    "more_a",
    "b",
    "pairs",
    "data",
}  # fields of Sources; if any is given, it replaces all folders of the file
FILLED = {
    "fingerprint",
    "feature_networks",
    "feature_weights",
    "measured_by",
    "number_format",
    "history",
}  # fields of RunConfig that are set when a run starts
GROUPS = {"method", "sources", "test"}
# Fields of a method's config that are no settings.
READ_FROM_DATA = {"labels", "palettes", "intensities"}
BY_SIDE = {"range", "bands", "show"}  # may be given several times, for one side each
OF_VALUES = {"in_channels", "out_channels", "identity"}  # set by the bands of the data


@dataclass(frozen=True)
class Setting:
    """A field of a config as a command-line option."""

    name: str
    field: FieldInfo
    of_run: bool  # a field of RunConfig, else of the method's config

    @property
    def is_switch(self) -> bool:
        """Whether the option needs no value, such as --spectral."""
        return bool in _alternatives(self.field.annotation)

    def parse(self, text: str) -> Any:
        """The value of a text: "none" means None, and commas separate the items of a list.

        Raises UsageError, which names the option and what is allowed.
        """
        kinds = _alternatives(self.field.annotation)
        choices = {str(choice): choice for kind in kinds for choice in _choices(kind)}
        if text.lower() in NONE and type(None) in kinds and text not in choices:
            return None
        if isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel):
            return text  # the name of a network
        value: Any = choices.get(text, text)
        if get_origin(kinds[0]) is tuple:
            items = map(str.strip, text.strip("[]()").split(","))
            value = tuple(item for item in items if item)
        try:
            annotated: Any = Annotated[self.field.annotation, self.field]
            return TypeAdapter(annotated).validate_python(value)
        except ValidationError as error:
            raise UsageError(f"{option(self.name)} {text}: {in_words(error)}") from None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, or the type itself."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _choices(kind: Any) -> tuple[Any, ...]:
    """The values of a Literal; empty for other types."""
    return get_args(kind) if get_origin(kind) is Literal else ()


def settings_of(mode: str, values: Mapping[str, Any]) -> dict[str, Setting]:
    """All settings by name: of the method, of the networks that the values choose, and of the
    run.
    """
    spellings = METHODS.choose(mode).Config.spellings(values)
    settings = {
        name: Setting(name, spelling.field, False)
        for name, spelling in spellings.items()
        if name not in READ_FROM_DATA
    }
    for name, field in RunConfig.model_fields.items():
        if name not in FILLED | GROUPS | {"mode", "preset"}:
            settings.setdefault(name, Setting(name, field, True))
    return settings


def require_mode(mode: str | None) -> str:
    """Raises UsageError if there is no method of that name."""
    if mode is None or mode not in METHODS:
        problem = f"There is no mode {mode}." if mode else "Which method?"
        raise UsageError(f"{problem} Choose --mode {', '.join(METHODS)}.")
    return mode


def read_texts(
    arguments: Sequence[str],
    assignments: Sequence[str],
    mode: str,
    values: Mapping[str, Any],
    declared: Collection[str] = (),
) -> dict[str, Any]:
    """The values of options that a command does not declare, and of `--set key=value`.

    values: the method's settings so far. Together with the objective and the networks among the
    texts, which are read first, they decide which settings exist. declared: the options that the
    command declares, for a hint if one is misspelled.
    """
    chosen = {**values, **_choices_of_networks(arguments, assignments)}
    settings = settings_of(mode, chosen)
    rows = rows_of(METHODS[mode].Config, chosen)
    names = {*map(option, settings), *declared}

    def find(name: str, spelled: str) -> Setting:
        if name in settings:
            return settings[name]
        if reason := of_other_networks(name, rows):
            raise UsageError(f"{spelled}: {reason}.")
        hint = did_you_mean(option(name), names) or " --list-settings prints them all."
        raise UsageError(f"There is no setting {spelled}.{hint}")

    return _read_options(arguments, find) | _read_assignments(assignments, find)


def _choices_of_networks(arguments: Sequence[str], assignments: Sequence[str]) -> dict[str, str]:
    """The names in `--generator resnet`, `--generator=resnet` or `--set generator=resnet`."""
    texts = [*(text.removeprefix("--") for text in arguments if text.startswith("--"))]
    chosen = {}
    for text in (*texts, *assignments):
        name, equals, value = text.partition("=")
        if equals and name in CHOOSING:
            chosen[name] = value
    for text, value in pairwise(arguments):
        if text.startswith("--") and text.removeprefix("--") in CHOOSING:
            chosen[text.removeprefix("--")] = value
    return chosen


def _read_options(arguments: Sequence[str], find: Callable[[str, str], Setting]) -> dict[str, Any]:
    """The values of options such as `--ema 0.999`, `--ema=0.999`, `--spectral`, `--no-flip`."""
    values: dict[str, Any] = {}
    repeated: dict[str, list[str]] = {}
    left = deque(arguments)
    while left:
        argument = left.popleft()
        if not argument.startswith("--"):
            raise UsageError(
                f"Unexpected argument {argument}. Folders are given with --a, --b, --data."
            )
        spelled, equals, text = argument.partition("=")
        name = spelled.removeprefix("--").replace("-", "_")
        if name.startswith("no_") and not equals:
            setting = find(name.removeprefix("no_"), spelled)
            if not setting.is_switch:
                raise UsageError(f"{spelled}: {option(setting.name)} needs a value.")
            values[setting.name] = False
            continue
        setting = find(name, spelled)
        if not equals:
            following = left[0] if left else "--"
            if setting.is_switch:
                text = left.popleft() if following.lower() in TRUTH_VALUES else "true"
            elif following.startswith("--"):
                raise UsageError(f"{argument} needs a value.")
            else:
                text = left.popleft()
        if name in BY_SIDE:
            repeated.setdefault(name, []).append(text)
        values[name] = setting.parse(text)
    return values | {name: items_of(option(name), texts) for name, texts in repeated.items()}


def _read_assignments(
    assignments: Sequence[str], find: Callable[[str, str], Setting]
) -> dict[str, Any]:
    """The values of `--set key=value`, by name."""
    values = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment}: write it as key=value.")
        name = key.strip().replace("-", "_")
        values[name] = find(name, key).parse(text)
    return values


def read_file(path: Path) -> dict[str, Any]:
    """The values of a YAML or JSON file, grouped as in config.json: such as a run's, or lines with
    the names of options (`a: horses`, `size: 128`). Raises DataError if it can't be read, or has no
    settings.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text())  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"The config {path} can't be read: {error}") from None
    if not isinstance(values, dict) or not all(
        isinstance(values.get(group, {}), dict) for group in GROUPS
    ):
        raise DataError(f"The config {path} has no settings (expected `key: value` lines).")
    return _grouped(values)


def _grouped(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The values of a file with those in `sources`, `test` and `method` that stand beside these
    groups, by their options' names; they win over what the groups have.
    """
    groups: dict[str, dict[str, Any]] = {name: dict(values.get(name, {})) for name in GROUPS}
    grouped: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name in RunConfig.model_fields:
            grouped[name] = value
        elif name == "direction":
            groups["sources"]["swap"] = _is_swapped(value)
        elif name in Sources.model_fields:
            groups["sources"][name] = value
        elif name.removeprefix("test_") in FOLDERS:
            groups["test"][name.removeprefix("test_")] = value
        else:
            groups["method"][name] = value
    return grouped | {name: group for name, group in groups.items() if group or name in grouped}


def _is_swapped(direction: Any) -> bool:
    if direction not in ("ab", "ba"):
        raise UsageError(f"--direction {direction}: must be 'ab' or 'ba'.")
    return bool(direction == "ba")


def beneath_options(file: Mapping[str, Any], mode: str, preset: str | None) -> dict[str, Any]:
    """The method's settings in the preset and the file, flat or nested.

    Raises UsageError if the method has no such preset.
    """
    presets = METHODS.choose(mode).presets
    name = preset or file.get("preset", "paper")
    if name not in presets:
        raise UsageError(
            f"{mode} has no preset {name}; it has {', '.join(presets)}."
            f"{did_you_mean(name, presets)}"
        )
    return {**presets[name], **(file.get("method") or {})}


def layered(
    file: Mapping[str, Any],
    options: Mapping[str, Any],
    sources: Mapping[str, Any],
    test: Mapping[str, Any],
) -> dict[str, Any]:
    """The values of a new run: those of the file, overridden by the options and folders.

    options: by the names of settings, and mode, preset and name. Given folders replace all folders
    of the file, including held-out ones. Values that an earlier run read from its data are removed,
    since the new run may hold out other pictures.
    """
    values = {**file, **{key: options[key] for key in ("mode", "preset") if key in options}}
    mode = values["mode"] = require_mode(values.get("mode"))
    for name in FILLED:
        values.pop(name, None)
    method = {
        name: value
        for name, value in (values.get("method") or {}).items()
        if name not in READ_FROM_DATA
    }
    if (values.get("method") or {}).get("intensities"):  # with which these were read from the data
        method = {name: value for name, value in method.items() if name not in OF_VALUES}
    if "preset" in options:
        method = _without_preset(method, mode, file.get("preset", "paper"))
    for name, value in options.items():
        target = values if name in RunConfig.model_fields.keys() - FILLED - GROUPS else method
        target[name] = value
    for length, other in (("epochs", "steps"), ("steps", "epochs")):
        if options.get(length) is not None:
            method[other] = options.get(other)  # if both are given, RunConfig refuses them
        elif method.get(length) is not None:
            method.setdefault(other, None)  # a file's length replaces the preset's
    if method.get("batch") == "auto":  # a placeholder until it is measured
        parts = method.get("accumulate", 1)
        method["batch"] = 2 * (parts if isinstance(parts, int) else 1)
    values["method"] = method
    if FOLDERS & sources.keys():
        values["sources"] = dict(sources)
        values.pop("test", None)
    else:
        values["sources"] = {**(values.get("sources") or {}), **sources}
    values["test"] = dict(test) if test else values.get("test") or {}
    values["name"] = str(values.get("name") or run_name(mode, values["sources"]))
    return values


def _without_preset(method: dict[str, Any], mode: str, preset: str) -> dict[str, Any]:
    """A file's settings of the method without those of its preset, so that another preset can
    apply. Settings that differ from the file's preset stay.
    """
    described = METHODS[mode]
    by_preset = described.Config(**described.presets.get(preset, {}))
    flat, nested = by_preset.flat(), by_preset.model_dump(mode="json")
    spellings = described.Config.spellings(method)
    settings = dict(method)
    for name in {name for values in described.presets.values() for name in values}:
        if name in settings and settings[name] == flat[name]:
            del settings[name]
        for kind, field in spellings[name].places if name in spellings else ():
            network = settings.get(kind)
            if isinstance(network, dict) and network.get(field) == nested[kind].get(field):
                settings[kind] = {key: value for key, value in network.items() if key != field}
    return settings


def run_name(mode: str, sources: Mapping[str, Any]) -> str:
    """The default name of a run: its method and the names of its folders."""
    folders: list[str | Path] = []
    for field in ("a", "more_a", "b", "pairs", "data"):
        given = sources.get(field) or ()
        folders += [given] if isinstance(given, str | Path) else given
    return "-".join([mode, *(Path(folder).resolve().name for folder in folders)])


def differences(before: RunConfig, after: RunConfig) -> dict[str, tuple[Any, Any]]:
    """The settings that make two configs train differently, each with both values.

    Where a run computes, what was read from its data, and its history are not compared.
    """
    first, second = (_by_name(config) for config in (before, after))
    return {
        name: (first.get(name), second.get(name))
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    }


def _by_name(config: RunConfig) -> dict[str, Any]:
    """The settings that decide how a run trains, flat, by name."""
    values = config.model_copy(
        update={"sources": config.sources.absolute(), "test": config.test.absolute()}
    ).model_dump(mode="json", exclude={*PLACE, *FILLED})
    test = {f"test_{key}": value for key, value in values.pop("test").items()}
    del values["method"]
    method = config.method.flat()
    for name in READ_FROM_DATA:
        method.pop(name, None)
    sources: dict[str, Any] = values.pop("sources")
    return sources | test | method | values
