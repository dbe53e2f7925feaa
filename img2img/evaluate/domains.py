"""Evaluating a model with domains (StarGAN): every domain by itself, and by the paper's measure,
how often a classifier that was trained on real pictures sees the wanted domain in translated ones
(Choi et al. 2018, section 5.5).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from rich.console import Console

from img2img.data.folders import Labelled, Sources
from img2img.errors import DataError, UsageError, needs_extra
from img2img.evaluate.features import Extractor
from img2img.evaluate.measure import Case, Evaluation, Maker, Measuring
from img2img.infer.translator import Translator

ERROR = "classification_error"


@dataclass(frozen=True)
class Domain:
    """One target: the number of its data set, its name, and the data set's pictures."""

    number: int
    name: str
    members: tuple[int, ...]  # indices of the data set's pictures
    has: np.ndarray  # bool [len(members)]: whether they are of the domain already


def evaluate_domains(
    data: Sources,
    translator: Translator,
    eye: Extractor,
    console: Console,
    train: Sources | None = None,
    wanted: Sequence[str] = (),
    seed: int = 0,
    times: int = 200,
) -> Evaluation:
    """Translate every picture to every domain that it lacks, and measure domain by domain.

    train: the pictures that the classifier learns from; without them it is trained twice, on one
    half of the data each, and judges what comes from the other half. Raises UsageError for a model
    without domains, DataError for data of others than the model's.
    """
    if not translator.manifest.labels.sets:
        raise UsageError(f"{translator.manifest.name} has no domains: give --a DIR and --b DIR.")
    dataset = _open(data, translator)
    learned = _open(train, translator) if train else None
    domains = _domains(dataset)
    measuring = Measuring(eye, console, wanted, seed, times, more=(ERROR,))
    sizes = [(int(domain.has.sum()), int((~domain.has).sum())) for domain in domains]
    measuring.require(sizes, cycle=True)
    files = list(dataset.files())
    real = measuring.see(files)
    fakes = {}
    for domain in domains:
        having = [index for index, has in zip(domain.members, domain.has, strict=True) if has]
        cases = _cases(dataset, domain, data)
        maker = Maker(translator, translator)
        reals = [files[index] for index in having]
        fakes[domain.name] = measuring.way(
            f"{domain.name}/", maker, cases, reals, real.features[having]
        ).style
    if measuring.wants(ERROR):
        known = None if learned is None else measuring.see(list(learned.files())).style
        _add_errors(measuring, dataset, domains, real.style, fakes, learned, known)
    result = measuring.result
    manifest = translator.manifest
    counts = ", ".join(f"{d.name} {int(d.has.sum())}" for d in domains)
    result.protocol = {
        "real": f"{len(files)} pictures ({counts})",
        "fake": f"{manifest.name} (sha256 {translator.sha256[:16]}) of those that lack the domain",
        **measuring.protocol(),
        "classifier": "logistic regression on all depths of that network, trained on "
        + (f"{len(learned)} other real pictures" if learned else "the other half of the real ones"),
    }
    return measuring.checked()


def _open(sources: Sources, translator: Translator) -> Labelled:
    manifest = translator.manifest
    dataset = Labelled.open(sources, (manifest.in_channels, manifest.out_channels))
    if dataset.labels != manifest.labels:
        raise DataError(
            f"The pictures have the domains {', '.join(dataset.labels.names)}; {manifest.name} "
            f"translates to {', '.join(manifest.labels.names)}. They must be the same."
        )
    return dataset


def _domains(dataset: Labelled) -> list[Domain]:
    found = []
    for number, labels in enumerate(dataset.labels.sets):
        members = tuple(dataset.parts[number])
        for name in labels.domains:
            has = np.array([name in dataset.items[index][2] for index in members])
            if has.any() and not has.all():
                found.append(Domain(number, name, members, has))
    return found


def _cases(dataset: Labelled, domain: Domain, data: Sources) -> list[Case]:
    """The pictures without the domain, to be translated to it."""
    cases = []
    for index, has in zip(domain.members, domain.has, strict=True):
        path, number, was = dataset.items[index]
        if not has:
            to = tuple(sorted(dataset.labels.towards(number, was, domain.name)))
            name = path.relative_to(data.data[number]).with_suffix("").as_posix()
            cases.append(Case(f"{name} to {domain.name}", path, None, to, was))
    return cases


def _add_errors(
    measuring: Measuring,
    dataset: Labelled,
    domains: Sequence[Domain],
    real: np.ndarray,
    fakes: dict[str, np.ndarray],
    learned: Labelled | None,
    known: np.ndarray | None,
) -> None:
    """The share of translations, and of real pictures, that the classifier takes for others.

    One classifier for the classes of a data set, one for each attribute. Without other pictures
    to learn from, those of even place are judged by the one that learned the odd, and vice versa.
    """

    @cache
    def taught(number: int, attribute: str | None, half: int) -> Callable[[np.ndarray], np.ndarray]:
        if learned is None or known is None:
            own = [i for i in dataset.parts[number] if i % 2 != half]
            return _classifier(real[own], [_truth(dataset, i, attribute) for i in own])
        own = list(learned.parts[number])
        return _classifier(known[own], [_truth(learned, i, attribute) for i in own])

    wrong_fakes, wrong_real = [], {}
    for domain in domains:
        classes = dataset.labels.sets[domain.number].kind == "classes"
        attribute = None if classes else domain.name
        target = domain.name if classes else "True"
        members, truth = (
            np.array(domain.members),
            np.array([_truth(dataset, i, attribute) for i in domain.members]),
        )
        sources = members[~domain.has]
        wrong, missed = np.zeros(len(sources), bool), np.zeros(len(members), bool)
        for half in (0, 1):
            says = taught(domain.number, attribute, half)
            judged = sources % 2 == half
            wrong[judged] = says(fakes[domain.name][judged]) != target
            judged = members % 2 == half
            missed[judged] = says(real[members[judged]]) != truth[judged]
        measuring.add_mean(f"{domain.name}/{ERROR}", wrong)
        wrong_fakes.append(wrong)
        wrong_real[domain.number, attribute] = missed
    measuring.add_mean(f"all/{ERROR}", np.concatenate(wrong_fakes))
    measuring.add_mean(f"real/{ERROR}", np.concatenate(list(wrong_real.values())))


def _truth(dataset: Labelled, index: int, attribute: str | None) -> str:
    """The picture's class, or whether it has the attribute."""
    domains = dataset.items[index][2]
    return domains[0] if attribute is None else str(attribute in domains)


def _classifier(features: np.ndarray, truth: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    """Logistic regression on standardised features, as a function that names each picture."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise needs_extra("eval", error) from None
    # There are more features than pictures: a strong prior instead of the usual C=1.
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    return fitted.fit(features, np.array(truth)).predict
