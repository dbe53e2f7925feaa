"""Scores of domains: a discriminator that judges a picture as one of its own domain."""

import torch
from torch import Tensor

from img2img.manifest import Labels
from img2img.nets.discriminator import Scores


class DomainScores:
    """The scores that a discriminator gives for each domain, [N, answers, H, W], and which of them
    count for a picture.

    A class has one score, as in StarGAN v2 (Choi et al. 2020, section 2.2). An attribute has two,
    for pictures with it and without it, and a picture's score is the mean over the attributes of
    its data set. The order is that of `labels.sets`: the scores of the classes, or those with each
    attribute and then those without.
    """

    def __init__(self, labels: Labels):
        self.labels = labels

    @property
    def answers(self) -> int:
        return len(self.labels.names) + len(self.labels.of_kind("attributes"))

    def of_labels(self, scores: Scores, label: Tensor) -> Scores:
        """The scores of pictures as those of their labels [N, labels.width]."""
        weights = self._weights(label)[:, :, None, None]
        maps = tuple((each * weights).sum(1, keepdim=True) for each in scores.maps)
        return Scores(maps, scores.weights)

    def of_domain(self, scores: Scores, name: str) -> Scores:
        """The scores of pictures as those of one class, or as those with one attribute."""
        place = 0
        for labelled in self.labels.sets:
            if name in labelled.domains:
                place += labelled.domains.index(name)
                break
            place += len(labelled.domains) * (2 if labelled.kind == "attributes" else 1)
        return Scores(tuple(each[:, place : place + 1] for each in scores.maps), scores.weights)

    def _weights(self, label: Tensor) -> Tensor:
        """[N, labels.width] -> [N, answers], of sum 1 for each picture."""
        labels, weights = self.labels, []
        for number, (labelled, part) in enumerate(zip(labels.sets, labels.parts, strict=True)):
            present = label[:, part]
            if labelled.kind == "classes":
                weights.append(present)
            else:
                absent = 1 - present
                if len(labels.sets) > 1:  # the labels of other data sets are 0, but not absent
                    absent = absent * label[:, len(labels.names) + number, None]
                count = len(labelled.domains)
                weights += [present / count, absent / count]
        return torch.cat(weights, 1)
