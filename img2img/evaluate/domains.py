"""Evaluating a model with domains (StarGAN): every domain by itself, and by the paper's measure,
how often a classifier that was trained on real pictures sees the wanted domain in translated ones
(Choi et al. 2018, section 5.5).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from rich.console import Console

from img2img.data.labelled import Labelled
from img2img.data.published import held_out_part, training_part
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError, needs_extra
from img2img.evaluate.features import Extractor
from img2img.evaluate.measure import Case, Evaluation, Maker, Measuring
from img2img.files import stem
from img2img.infer.translator import Translator

ERROR = "classification_error"  # of the translations to a domain, or of all
REAL_ERROR = "classification_error_of_real"


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
    half of the data each, and judges what comes from the other half. Of published data sets with
    parts, `data` is the test part (else val), `train` the training part. Raises UsageError for a
    model without domains, DataError for data of others than the model's.
    """
    if not translator.manifest.labels.sets:
        raise UsageError(f"{translator.manifest.name} has no domains: give --a DIR and --b DIR.")
    data, notes = held_out_part(("labelled",), data)
    if train:
        train, more = training_part(("labelled",), train)
        notes += more
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    dataset = _open(data, translator)
    learned = _open(train, translator) if train else None
    domains = _domains(dataset)
    measuring = Measuring(eye, console, wanted, seed, times, more=(ERROR, REAL_ERROR))
    sizes = [(int(domain.has.sum()), int((~domain.has).sum())) for domain in domains]
    measuring.require(sizes, cycle=True)
    files = list(dataset.files())
    channels = translator.manifest.out_channels
    real = measuring.see(files, channels)
    fakes, maker = {}, Maker(translator, translator)
    for domain in domains:
        having = [index for index, has in zip(domain.members, domain.has, strict=True) if has]
        cases = _cases(dataset, domain, data)
        reals = [files[index] for index in having]
        fakes[domain.name] = measuring.way(
            f"{domain.name}/", maker, cases, reals, real.features[having]
        ).style
    if measuring.wants(ERROR) or measuring.wants(REAL_ERROR):
        known = None if learned is None else measuring.see(list(learned.files()), channels).style
        _add_errors(measuring, dataset, domains, real.style, fakes, learned, known)
    result = measuring.result
    counts = ", ".join(f"{d.name} {int(d.has.sum())}" for d in domains)
    result.protocol = {
        "real": f"{len(files)} pictures ({counts})",
        "fake": Maker(translator).describe("those that lack the domain"),
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
            has = np.array([name in dataset.domains_of(index) for index in members])
            if has.any() and not has.all():
                found.append(Domain(number, name, members, has))
    return found


def _cases(dataset: Labelled, domain: Domain, data: Sources) -> list[Case]:
    """The pictures without the domain, to be translated to it."""
    cases = []
    for index, has in zip(domain.members, domain.has, strict=True):
        if not has:
            path, number, was = dataset.items[index]
            labels = dataset.labels
            to = labels.vector(number, labels.towards(number, was, domain.name))
            back = labels.vector(number, was)
            name = f"{stem(path, data.data[number])} to {domain.name}"
            cases.append(Case(name, path, None, to, back, domain.name))
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

    One classifier for the classes of a data set, one for each attribute. Without other pictures to
    learn from, every second one of a class is judged by the classifier that learned the rest.
    """

    @cache
    def judge(number: int, attribute: str | None) -> _Judge | None:
        own = list(dataset.parts[number])
        truth = np.array([_truth(dataset, i, attribute) for i in own])
        if learned is None or known is None:
            return _Judge.halved(own, real[own], truth)
        taught = list(learned.parts[number])
        wanted = [_truth(learned, i, attribute) for i in taught]
        return _Judge.taught(own, known[taught], np.array(wanted))

    wrong_fakes, wrong_real = [], {}
    for domain in domains:
        attribute = domain.name
        if dataset.labels.sets[domain.number].kind == "classes":
            attribute = None
        judged = judge(domain.number, attribute)
        if judged is None:
            why = "the classifier needs two pictures of each kind, at least"
            measuring.result.left_out[f"{domain.name}/{ERROR}"] = why
            continue
        members = np.array(domain.members)
        sources = members[~domain.has]
        target = domain.name if attribute is None else "True"
        wrong = judged(sources, fakes[domain.name]) != target
        measuring.add_mean(f"{domain.name}/{ERROR}", wrong)
        wrong_fakes.append(wrong)
        truth = np.array([_truth(dataset, i, attribute) for i in members])
        wrong_real[domain.number, attribute] = judged(members, real[members]) != truth
    if wrong_fakes:
        measuring.add_mean(ERROR, np.concatenate(wrong_fakes))
        measuring.add_mean(REAL_ERROR, np.concatenate(list(wrong_real.values())))


class _Judge:
    """Names pictures by the classifier, of two, that has not learned from them."""

    def __init__(self, says: Sequence[Callable[[np.ndarray], np.ndarray]], half: dict[int, int]):
        """half: which of them judges a picture, by its index."""
        self.says, self.half = says, half

    @classmethod
    def taught(cls, own: Sequence[int], features: np.ndarray, truth: np.ndarray) -> "_Judge | None":
        """By other pictures than those that are judged."""
        if len(set(truth.tolist())) < 2:
            return None
        return cls([_classifier(features, truth)], dict.fromkeys(own, 0))

    @classmethod
    def halved(cls, own: Sequence[int], features: np.ndarray, truth: np.ndarray) -> "_Judge | None":
        """By the other half of the pictures that are judged, of each kind as many."""
        half = np.zeros(len(own), int)
        kinds = [np.flatnonzero(truth == kind) for kind in sorted(set(truth.tolist()))]
        if len(kinds) < 2 or min(map(len, kinds)) < 2:
            return None
        for kind in kinds:
            half[kind[1::2]] = 1
        says = [_classifier(features[half != side], truth[half != side]) for side in (0, 1)]
        return cls(says, dict(zip(own, half.tolist(), strict=True)))

    def __call__(self, indices: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Names of the pictures [N], or of translations of them, by features [N, D]."""
        sides = np.array([self.half[index] for index in indices.tolist()])
        named = np.empty(len(indices), object)
        for side, says in enumerate(self.says):
            if (sides == side).any():
                named[sides == side] = says(features[sides == side])
        return named


def _truth(dataset: Labelled, index: int, attribute: str | None) -> str:
    """The picture's class, or whether it has the attribute."""
    domains = dataset.domains_of(index)
    return domains[0] if attribute is None else str(attribute in domains)


def _classifier(features: np.ndarray, truth: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Logistic regression on standardised features, as a function that names each picture."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise needs_extra("eval", error) from None
    # There are more features than pictures: a strong prior instead of the usual C=1.
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    return fitted.fit(features, truth).predict
