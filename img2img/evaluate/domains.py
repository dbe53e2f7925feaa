"""Evaluating a model with domains (StarGAN): each domain by itself, and by the paper's measure, how
often a classifier trained on real pictures finds the target domain in translated ones
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
from img2img.evaluate.cases import Case, Translations
from img2img.evaluate.features import Extractor
from img2img.evaluate.measure import Evaluation, Evaluator
from img2img.files import stem
from img2img.infer.translator import Translator

ERROR = "classification_error"  # of the translations to a domain, or of all
REAL_ERROR = "classification_error_of_real"


@dataclass(frozen=True)
class Domain:
    """One target domain, and the pictures of its data set."""

    number: int  # of its data set, among those that the model was trained on
    name: str
    members: tuple[int, ...]  # indices of the data set's pictures
    has: np.ndarray  # bool [len(members)]: whether each is in the domain already


def evaluate_domains(
    data: Sources,
    translator: Translator,
    network: Extractor,
    console: Console,
    train: Sources | None = None,
    wanted: Sequence[str] = (),
    seed: int = 0,
    resamples: int = 200,
) -> Evaluation:
    """Translate every picture to every domain that it lacks, and measure domain by domain.

    train: the pictures that the classifier is trained on; without them, two classifiers are
    trained, on one half of the data each, and each judges the other half. Of published data sets
    with parts, `data` is the test part (else val), and `train` the training part. Raises UsageError
    for a model without domains, and DataError where the data have other domains than the model.
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
    training = _open(train, translator) if train else None
    domains = _domains(dataset)
    translations = Translations(translator, translator)
    evaluator = Evaluator(
        network,
        console,
        wanted,
        seed,
        resamples,
        additional=(ERROR, REAL_ERROR),
        trained=translations.feature_networks,
    )
    sizes = [(int(domain.has.sum()), int((~domain.has).sum())) for domain in domains]
    evaluator.require(sizes, cycle=True)
    files = list(dataset.files())
    real = evaluator.activations(files, translations)
    fakes: dict[str, np.ndarray] = {}
    for domain in domains:
        with_domain = [index for index, has in zip(domain.members, domain.has, strict=True) if has]
        cases = _cases(dataset, domain, data)
        reals = [files[index] for index in with_domain]
        fakes[domain.name] = evaluator.measure(
            f"{domain.name}/", translations, cases, reals, real.features[with_domain]
        ).style
    if evaluator.wants(ERROR) or evaluator.wants(REAL_ERROR):
        style = (
            evaluator.activations(list(training.files()), translations).style if training else None
        )
        _add_errors(evaluator, dataset, domains, real.style, fakes, training, style)
    result = evaluator.result
    counts = ", ".join(f"{d.name} {int(d.has.sum())}" for d in domains)
    result.protocol = {
        "real": f"{len(files)} pictures ({counts})",
        "fake": Translations(translator).describe("those that lack the domain"),
        **evaluator.protocol(),
        "classifier": "logistic regression on all depths of that network, trained on "
        + (
            f"{len(training)} other real pictures"
            if training
            else "the other half of the real ones"
        ),
    }
    return evaluator.complete_result()


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
    result = []
    for number, labels in enumerate(dataset.labels.sets):
        members = tuple(dataset.parts[number])
        for name in labels.domains:
            has = np.array([name in dataset.domains_of(index) for index in members])
            if has.any() and not has.all():
                result.append(Domain(number, name, members, has))
    return result


def _cases(dataset: Labelled, domain: Domain, data: Sources) -> list[Case]:
    """The pictures without the domain, to be translated to it."""
    cases = []
    for index, has in zip(domain.members, domain.has, strict=True):
        if not has:
            path, number, source_domains = dataset.items[index]
            labels = dataset.labels
            to = labels.vector(number, labels.towards(number, source_domains, domain.name))
            back = labels.vector(number, source_domains)
            name = f"{stem(path, data.data[number])} to {domain.name}"
            cases.append(Case(name, path, None, to, back, domain.name))
    return cases


def _add_errors(
    evaluator: Evaluator,
    dataset: Labelled,
    domains: Sequence[Domain],
    real: np.ndarray,
    fakes: dict[str, np.ndarray],
    training: Labelled | None,
    training_features: np.ndarray | None,
) -> None:
    """The share of translations, and of real pictures, that are classified as another domain.

    There is one classifier for the classes of a data set, and one for each attribute. Without
    separate training pictures, two classifiers are trained, on one half of the data set each, and
    each judges the other half.
    """

    @cache
    def classifier(number: int, attribute: str | None) -> _Classifier | None:
        members = list(dataset.parts[number])
        truth = np.array([_truth(dataset, i, attribute) for i in members])
        if training is None or training_features is None:
            return _Classifier.cross_trained(members, real[members], truth)
        others = list(training.parts[number])
        labels = np.array([_truth(training, i, attribute) for i in others])
        return _Classifier.trained(members, training_features[others], labels)

    wrong_fakes, wrong_real = [], {}
    for domain in domains:
        has_classes = dataset.labels.sets[domain.number].kind == "classes"
        attribute = None if has_classes else domain.name
        classify = classifier(domain.number, attribute)
        if classify is None:
            reason = "the classifier needs at least two pictures of each kind"
            evaluator.result.left_out[f"{domain.name}/{ERROR}"] = reason
            continue
        members = np.array(domain.members)
        sources = members[~domain.has]
        target = domain.name if attribute is None else "True"
        wrong = classify(sources, fakes[domain.name]) != target
        evaluator.add_mean(f"{domain.name}/{ERROR}", wrong)
        wrong_fakes.append(wrong)
        truth = np.array([_truth(dataset, i, attribute) for i in members])
        wrong_real[domain.number, attribute] = classify(members, real[members]) != truth
    if wrong_fakes:
        evaluator.add_mean(ERROR, np.concatenate(wrong_fakes))
        evaluator.add_mean(REAL_ERROR, np.concatenate(list(wrong_real.values())))


class _Classifier:
    """One or two classifiers, so that no picture is judged by one that was trained on it."""

    def __init__(
        self, models: Sequence[Callable[[np.ndarray], np.ndarray]], model_of: dict[int, int]
    ):
        """model_of: index of a picture -> number of the model that judges it."""
        self.models, self.model_of = models, model_of

    @classmethod
    def trained(
        cls, judged: Sequence[int], features: np.ndarray, truth: np.ndarray
    ) -> "_Classifier | None":
        """Trained on other pictures than those that are judged; None if all have one label."""
        if len(set(truth.tolist())) < 2:
            return None
        return cls([_fit(features, truth)], dict.fromkeys(judged, 0))

    @classmethod
    def cross_trained(
        cls, judged: Sequence[int], features: np.ndarray, truth: np.ndarray
    ) -> "_Classifier | None":
        """Two models, each trained on the half (stratified by label) that the other judges; None
        with fewer than two pictures of a label.
        """
        half = np.zeros(len(judged), int)
        by_label = [np.flatnonzero(truth == label) for label in sorted(set(truth.tolist()))]
        if len(by_label) < 2 or min(map(len, by_label)) < 2:
            return None
        for members in by_label:
            half[members[1::2]] = 1
        models = [_fit(features[half != side], truth[half != side]) for side in (0, 1)]
        return cls(models, dict(zip(judged, half.tolist(), strict=True)))

    def __call__(self, indices: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Labels of the pictures [N], or of translations of them, by features [N, D]."""
        numbers = np.array([self.model_of[index] for index in indices.tolist()])
        labels = np.empty(len(indices), object)
        for number, model in enumerate(self.models):
            if (numbers == number).any():
                labels[numbers == number] = model(features[numbers == number])
        return labels


def _truth(dataset: Labelled, index: int, attribute: str | None) -> str:
    """The picture's class, or whether it has the attribute."""
    domains = dataset.domains_of(index)
    return domains[0] if attribute is None else str(attribute in domains)


def _fit(features: np.ndarray, truth: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Logistic regression on standardized features: a function from features to labels."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise needs_extra("eval", error) from None
    # There are more features than pictures, so the prior is stronger than the usual C=1.
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    predict: Callable[[np.ndarray], np.ndarray] = pipeline.fit(features, truth).predict
    return predict
