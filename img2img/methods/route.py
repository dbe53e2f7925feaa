"""Flat names of settings, and their places in the nested settings of a method.

In config.json, settings of networks are nested: `{"generator": {"name": "unet", "levels": 5},
...}`. Users write them flat: `levels=5`. A flat name is a setting of the method, or else of the
generator; settings of the discriminator have the prefix `d_`, except a few that no generator has.
"""

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic.fields import FieldInfo

from img2img.errors import UsageError
from img2img.methods.objectives import OBJECTIVES
from img2img.nets import DISCRIMINATORS, GENERATORS
from img2img.nets.config import NetworkConfig
from img2img.nets.discriminator import DiscriminatorConfig
from img2img.nets.generator import GeneratorConfig
from img2img.table import Table

if TYPE_CHECKING:
    from img2img.methods.config import MethodConfig

Rows = tuple[type[GeneratorConfig], type[DiscriminatorConfig]]
SHARED = ("norm",)  # sets both networks; d_norm sets the discriminators only
UNPREFIXED = ("spectral", "minibatch")  # settings of discriminators that no generator has
ENERGY = "autoencoder"  # the default discriminator of energy-based objectives
CHOOSING = ("objective", "generator", "discriminator")  # settings that determine the networks
TABLES: dict[str, Table[Any]] = {"generator": GENERATORS, "discriminator": DISCRIMINATORS}


class Spelling(NamedTuple):
    """The places and the field of a flat setting."""

    places: tuple[tuple[str, str], ...]  # ("method", "generator" or "discriminator", field)
    field: FieldInfo


def spellings(schema: type["MethodConfig"], rows: Rows) -> dict[str, Spelling]:
    """All flat settings of a method with these networks, by name."""
    generator, discriminator = rows
    known = {
        name: Spelling((("method", name),), field) for name, field in schema.model_fields.items()
    }
    for name, field in generator.model_fields.items():
        known.setdefault(name, Spelling((("generator", name),), field))
    for name, field in discriminator.model_fields.items():
        place = ("discriminator", name)
        if name in SHARED:
            places, shared = known.get(name, Spelling((), field))
            known[name] = Spelling((*places, place), shared)
        plain = name in UNPREFIXED and name not in known
        known[name if plain else f"d_{name}"] = Spelling((place,), field)
    return known


def rows_of(schema: type["MethodConfig"], values: Mapping[str, Any]) -> Rows:
    """The classes of the networks that the settings choose, by default the method's.

    Raises UsageError for an unknown network, and for one of another package under two names.
    """
    objective = OBJECTIVES.get(values.get("objective", schema.model_fields["objective"].default))
    default = ENERGY if objective and objective.energy else schema.default_discriminator
    generator = _name(values, "generator") or schema.default_generator
    discriminator = _name(values, "discriminator") or default
    rows = GENERATORS.choose(generator), DISCRIMINATORS.choose(discriminator)
    for table, name, row in zip(TABLES.values(), (generator, discriminator), rows, strict=True):
        if row.name != name:  # config.json would have a name that is in no table
            raise UsageError(
                f"The {table.kind} {name} of {table.origin(name)} has the class attribute "
                f"name = {row.name!r}. Both names must be the same."
            )
    return rows


def route(
    schema: type["MethodConfig"], values: Mapping[str, Any], preset: Mapping[str, Any]
) -> dict[str, Any]:
    """Nest flat settings in `generator` and `discriminator`, and lay them over the preset and over
    the method's defaults for its networks, as far as the chosen networks have these settings.

    Flat settings take precedence over nested ones, as the command line does over a file. Raises
    ValueError for an unknown setting, UsageError for an unknown network.
    """
    fields = schema.model_fields
    routed = {name: value for name, value in (*preset.items(), *values.items()) if name in fields}
    for kind in TABLES:
        if kind in preset and not _name(values, kind):  # settings alone do not choose another one
            routed[kind] = preset[kind]
    rows = rows_of(schema, routed)
    known = spellings(schema, rows)
    for kind, row, preferred in zip(
        TABLES, rows, (schema.generator_defaults, schema.discriminator_defaults), strict=True
    ):
        defaults = {name: value for name, value in preferred.items() if name in row.model_fields}
        routed[kind] = {"name": row.name, **defaults}
    _place(routed, {name: value for name, value in preset.items() if name in known}, known)
    for kind in TABLES:
        routed[kind] |= _nested(values, kind)
    for name in values.keys() - known.keys():
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(of_other_networks(name, rows) or f"there is no setting {name}{hint}")
    _place(routed, values, known)
    return routed


def of_other_networks(name: str, rows: Rows) -> str:
    """An error message for a flat setting that other built-in networks have, but not the chosen
    ones; "" if none has it. Networks of other packages are left out, as they would be imported.
    """
    bare = name.removeprefix("d_")
    for (kind, table), row in zip(TABLES.items(), rows, strict=True):
        judges = kind == "discriminator"
        field = bare if judges else name
        spelled = not judges or name != bare or bare in UNPREFIXED
        having = [other for other in table.builtin if field in table[other].model_fields]
        if spelled and having:
            have = "has" if len(having) == 1 else "have"
            return (
                f"the {kind} {row.name} has no setting {field}; {', '.join(having)} {have}; "
                f"choose one with {kind}={having[0]}"
            )
    return ""


def _place(
    routed: dict[str, Any], values: Mapping[str, Any], known: Mapping[str, Spelling]
) -> None:
    """Write the flat settings of networks to their places; those with several places first."""
    flat = [(known[name].places, value) for name, value in values.items() if name in known]
    for places, value in sorted(flat, key=lambda item: -len(item[0])):
        for kind, field in places:
            if kind in TABLES:
                routed[kind][field] = value


def _name(values: Mapping[str, Any], kind: str) -> str | None:
    """The name of the network that `generator` or `discriminator` chooses, if it has one."""
    network = values.get(kind)
    name = network if isinstance(network, str) else _nested(values, kind).get("name")
    if not (name is None or isinstance(name, str)):
        raise ValueError(f"the name of a {kind} must be a string, not {name!r}")
    return name


def _nested(values: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The nested settings of `generator` or `discriminator`."""
    network = values.get(kind)
    if isinstance(network, NetworkConfig):
        return network.model_dump()
    if network is None or isinstance(network, str):
        return {}
    if not isinstance(network, dict):
        raise ValueError(f"{kind} must be a name, or the settings of a network with its name")
    return network
