"""The rules of resuming a run: what it takes from its config.json, and what may change.

What may change is its length, its learning rates and their decay; a new length is the length in
all, so that the same command given again goes on and adds nothing. Networks, optimizers, image
pools and averages are kept. RunConfig.history records what was in force before, and until when.
"""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from img2img.errors import UsageError
from img2img.training import checkpoint
from img2img.training.config import (
    CHANGEABLE,
    PLACE,
    PastSettings,
    RunConfig,
    in_words,
    option,
)
from img2img.training.settings import differences


def resumed(run: Path, saved: RunConfig, options: Mapping[str, Any]) -> RunConfig:
    """The config that a run goes on with: the saved one, with the options that were given.

    Raises UsageError for an option that can't change.
    """
    refuse_fixed(options)
    place = {name: options[name] for name in PLACE if name in options}
    try:
        config = RunConfig(**{**dict(saved), **place})
    except ValidationError as error:
        raise UsageError(in_words(error)) from None
    changes = {name: value for name, value in options.items() if name in CHANGEABLE}
    return changed(config, changes, run) if changes else config


def refuse_fixed(options: Iterable[str]) -> None:
    """UsageError for the first option that can't change when a run is resumed."""
    fixed = [name for name in options if name not in (*CHANGEABLE, *PLACE)]
    if fixed:
        can = ", ".join(map(option, CHANGEABLE))
        place = ", ".join(map(option, PLACE))
        raise UsageError(
            f"--resume takes {option(fixed[0])} from the run; leave it out. What can change is the "
            f"length, the rates and their schedule ({can}), where it computes and what it writes "
            f"({place})."
        )


def changed(config: RunConfig, changes: Mapping[str, Any], run: Path) -> RunConfig:
    """The config with other settings from the run's last checkpoint on, and what was in force
    before in its history. Without a difference the config as it is.

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
    last = run / checkpoint.LAST
    done = checkpoint.load(last)["trainer"]["step"] if last.exists() else 0
    history = config.history
    if done > (history[-1].until if history else 0):  # else they were never trained with
        before = config.method.model_dump(include=set(CHANGEABLE))
        history = (*history, PastSettings(until=done, patience=config.patience, **before))
    return after.model_copy(update={"history": history})


def changes_in_words(before: RunConfig, after: RunConfig) -> str:
    """The settings that a run goes on with, each with what it was before; "" without any."""
    changes = differences(before, after).items()
    return ", ".join(f"{name} {new} ({old} before)" for name, (old, new) in changes)


def continued(run: Path, given: RunConfig, keep_batch: bool) -> RunConfig:
    """The config of a run that the command that began it goes on with (--resume auto): the saved
    one, where it computes as given now. keep_batch: the batch was measured when the run began.

    Raises UsageError for settings that differ, and says how to change those that can.
    """
    saved = RunConfig.load(run)
    if keep_batch:
        given = given.with_method(batch=saved.method.batch)
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
