"""The rules of resuming a run: which settings may change.

These are the length, the learning rates, their decay, and the patience. A new length is the total
length, so that the same command, repeated after an interruption, adds nothing. Networks,
optimizers, image pools and averages are kept. RunConfig.history records the earlier settings.
"""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from img2img.errors import DataError, UsageError
from img2img.training import checkpoint
from img2img.training.config import (
    CHANGEABLE,
    PLACE,
    PastSettings,
    RunConfig,
    did_you_mean,
    in_words,
    option,
)
from img2img.training.settings import differences, settings_of


def resumed(run: Path, saved: RunConfig, options: Mapping[str, Any]) -> RunConfig:
    """The config of a resumed run: the saved one, changed by the given options.

    Raises UsageError for an option that may not change, or that there is not.
    """
    known = settings_of(saved.mode, saved.method.model_dump())
    for name in options:
        if name not in known:
            raise UsageError(f"There is no setting {name}.{did_you_mean(name, known)}")
    refuse_fixed(options)
    place = {name: options[name] for name in PLACE if name in options}
    try:
        config = RunConfig(**{**dict(saved), **place})
    except ValidationError as error:
        raise UsageError(in_words(error)) from None
    changes = {name: value for name, value in options.items() if name in CHANGEABLE}
    return changed(config, changes, run) if changes else config


def refuse_fixed(options: Iterable[str]) -> None:
    """Raises UsageError for the first option that may not change when a run is resumed."""
    fixed = [name for name in options if name not in (*CHANGEABLE, *PLACE)]
    if fixed:
        changeable = ", ".join(map(option, CHANGEABLE))
        place = ", ".join(map(option, PLACE))
        raise UsageError(
            f"--resume takes {option(fixed[0])} from the run; leave it out. Only the length, the "
            f"learning rates and the patience ({changeable}) can change, and where the run "
            f"computes and what it writes ({place})."
        )


def changed(config: RunConfig, changes: Mapping[str, Any], run: Path) -> RunConfig:
    """The config with other settings, which apply from the run's last checkpoint on. The earlier
    ones are added to its history. Without a difference, the config is returned unchanged.

    Raises UsageError for a value that is not allowed, or that would change nothing.
    """
    of_method = {name: value for name, value in changes.items() if name != "patience"}
    if {"epochs", "steps"} & of_method.keys():
        of_method = {"epochs": None, "steps": None, **of_method}
    patience = changes.get("patience", config.patience)
    try:
        after = RunConfig(**{**dict(config.with_method(**of_method)), "patience": patience})
    except ValidationError as error:
        raise UsageError(in_words(error)) from None
    if (after.method, after.patience) == (config.method, config.patience):
        return config
    for name, reason in after.without_effect().items():
        if name in changes:
            raise UsageError(f"{option(name)} would change nothing: {reason}. Leave it out.")
    done = _steps_done(run)
    history = config.history
    if done > (history[-1].until if history else 0):  # else no step was trained with them
        before = config.method.model_dump(include=set(CHANGEABLE))
        history = (*history, PastSettings(until=done, patience=config.patience, **before))
    return after.model_copy(update={"history": history})


def _steps_done(run: Path) -> int:
    """The step of the run's newest good checkpoint; 0 without one. Raises DataError for a file that
    is none.
    """
    if not checkpoint.exists(run):
        return 0
    path, state = checkpoint.load_newest(run, warn=lambda text: None)  # training tells it
    try:
        return int(state["trainer"]["step"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path} is not the checkpoint of a run: it has no step.") from None


def changes_in_words(before: RunConfig, after: RunConfig) -> str:
    """The settings that change, with the new and the old value; "" if there are none."""
    changes = differences(before, after).items()
    return ", ".join(f"{name} {new} (was {old})" for name, (old, new) in changes)


def continued(run: Path, given: RunConfig, keep_batch: bool) -> RunConfig:
    """The config of a run that is continued by the command that started it (--resume auto).

    It is the saved one, except where the run computes and what it writes. keep_batch: the batch was
    measured when the run started. Raises UsageError, with advice, for other settings that differ.
    """
    saved = RunConfig.load(run)
    if keep_batch:
        given = given.with_method(batch=saved.method.batch)
    if saved.method.accumulate % given.method.accumulate == 0:  # more where memory was missing
        given = given.with_method(accumulate=saved.method.accumulate)
    different = differences(saved, given)
    if different:
        values = ", ".join(f"{name} {old}, not {new}" for name, (old, new) in different.items())
        advice = "Give them again, or choose another --name."
        if different.keys() <= set(CHANGEABLE):
            again = " ".join(
                f"{option(name)} {'none' if new is None else new}"
                for name, (_, new) in different.items()
                if new is not None or name == "patience"  # of epochs and steps one is enough
            )
            advice = f"Go on with the new ones: --resume {shlex.quote(str(run))} {again}"
        raise UsageError(f"{run} was started with other settings ({values}). {advice}")
    return saved.model_copy(update=given.model_dump(include=set(PLACE)))
