"""Where the settings of a method's networks go.

In config.json they are nested: `{"generator": {"name": "unet", "levels": 5}, ...}`. People write
them flat: `levels=5`. A flat setting is the method's own, else the generator's; those of the
discriminator are written with `d_` before them, but for a few that no generator has.
"""

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic.fields import FieldInfo

from img2img.methods.objectives import OBJECTIVES
from img2img.nets import DISCRIMINATORS, GENERATORS
from img2img.nets.config import NetworkConfig
from img2img.nets.discriminator import DiscriminatorConfig
from img2img.nets.generator import GeneratorConfig
from img2img.table import Table

if TYPE_CHECKING:
    from img2img.methods.config import MethodConfig

Rows = tuple[type[GeneratorConfig], type[DiscriminatorConfig]]
SHARED = ("norm",)  # sets both networks; d_norm the discriminators' alone
UNPREFIXED = ("spectral", "minibatch")  # of discriminators, and no generator has them
ENERGY = "autoencoder"  # the discriminator of objectives of energy
CHOOSING = ("objective", "generator", "discriminator")  # settings that choose the networks
TABLES: dict[str, Table[Any]] = {"generator": GENERATORS, "discriminator": DISCRIMINATORS}


class Spelling(NamedTuple):
    """What a flat setting sets."""

    places: tuple[tuple[str, str], ...]  # ("method", "generator" or "discriminator", field)
    field: FieldInfo


def spellings(schema: type["MethodConfig"], rows: Rows) -> dict[str, Spelling]:
    """Every flat setting of a method with these networks."""
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
    """The networks that settings choose, by default the method's.

    Raises UsageError where there is none of that name.
    """
    objective = OBJECTIVES.get(values.get("objective", schema.model_fields["objective"].default))
    usual = ENERGY if objective and objective.energy else schema.default_discriminator
    generator = GENERATORS.choose(_name(values, "generator") or schema.default_generator)
    return generator, DISCRIMINATORS.choose(_name(values, "discriminator") or usual)


def route(
    schema: type["MethodConfig"], values: Mapping[str, Any], preset: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings with those of networks in `generator` and `discriminator`, over what the preset
    sets and the method's defaults for its networks, as far as the chosen networks have them.

    Flat settings win over nested ones: a file has the latter, and the command line the former.
    Raises ValueError for a setting that there is not, UsageError for a network that there is not.
    """
    fields = schema.model_fields
    routed = {name: value for name, value in (*preset.items(), *values.items()) if name in fields}
    rows = rows_of(schema, routed)
    known = spellings(schema, rows)
    for kind, row, usual in zip(
        TABLES, rows, (schema.generator_defaults, schema.discriminator_defaults), strict=True
    ):
        defaults = {name: value for name, value in usual.items() if name in row.model_fields}
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
    """What to say of a flat setting that other networks have, but not the chosen ones; "" where
    none has it. Those of other packages are not looked at, which would import them.
    """
    bare = name.removeprefix("d_")
    for (kind, table), row in zip(TABLES.items(), rows, strict=True):
        judges = kind == "discriminator"
        field = bare if judges else name
        spelled = not judges or name != bare or bare in UNPREFIXED
        having = [other for other in table.builtin if field in table[other].model_fields]
        if spelled and having:
            have = "has" if len(having) == 1 else "have"
            return f"the {kind} {row.name} has no setting {field}; {', '.join(having)} {have}"
    return ""


def _place(
    routed: dict[str, Any], values: Mapping[str, Any], known: Mapping[str, Spelling]
) -> None:
    """Put the flat settings of networks where they belong; what sets several goes first."""
    flat = [(known[name].places, value) for name, value in values.items() if name in known]
    for places, value in sorted(flat, key=lambda item: -len(item[0])):
        for kind, field in places:
            if kind in TABLES:
                routed[kind][field] = value


def _name(values: Mapping[str, Any], kind: str) -> str | None:
    """The name of the network that `generator` or `discriminator` chooses; None for none."""
    given = values.get(kind)
    name = given if isinstance(given, str) else _nested(values, kind).get("name")
    if not (name is None or isinstance(name, str)):
        raise ValueError(f"the name of a {kind} is a word, not {name!r}")
    return name


def _nested(values: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The settings within `generator` or `discriminator`."""
    given = values.get(kind)
    if isinstance(given, NetworkConfig):
        return given.model_dump()
    if given is None or isinstance(given, str):
        return {}
    if not isinstance(given, dict):
        raise ValueError(f"{kind} is the name of one, or its settings with its name among them")
    return given
