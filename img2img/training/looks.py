"""When a run is looked at, what that has shown, the best weights, and early stopping."""

from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console

from img2img.errors import DataError, Img2ImgError
from img2img.evaluate import features
from img2img.training.callbacks import Callback
from img2img.training.examine import DiagnosisLog, Examiner, LookStopped
from img2img.training.folder import RunFolder
from img2img.training.log import MetricsLog
from img2img.training.plan import Plan
from img2img.training.trainer import Trainer


class OtherRankFailed(Img2ImgError):
    """Another process of the run failed, and reports the reason itself."""

    def __init__(self, message: str = "Another process of this run failed."):
        super().__init__(message)


class Looks:
    """The looks of a run: when they are due, and their results so far. Only the first rank
    looks.
    """

    def __init__(self, plan: Plan, trainer: Trainer, scores: list[float]):
        """scores: those of the looks before the checkpoint from which the run is resumed."""
        every = plan.config.eval_every
        # By default about twenty looks in a run.
        self.every = max(500, plan.total // 20) if every is None else every
        self.plan, self.trainer, self.ranks = plan, trainer, trainer.ranks
        self.scores = scores  # of all looks: the mean kernel distance of the directions
        self.latest: dict[str, float] = {}  # the results of the last look
        self.cut_short = False  # whether a signal ended a look
        self.out_of_patience = self._is_out_of_patience()

    def open(
        self,
        folder: RunFolder,
        metrics: MetricsLog,
        console: Console,
        callbacks: Sequence[Callback],
    ) -> None:
        """Prepare the looks of the first rank."""
        self.folder, self.metrics = folder, metrics
        self.console, self.callbacks = console, callbacks
        if not self.every:
            return
        config, extractor = self.plan.config, None
        if config.measured_by not in ("", "none"):
            extractor = features.extractor(config.measured_by, device=self.trainer.runtime.device)
        self.examiner = Examiner(
            self.plan.training,
            self.plan.held_out,
            self.plan.augment(training=False),
            config.method.batch,
            config.eval_pictures,
            extractor,
        )
        self.diagnosis = DiagnosisLog(folder.path, self.trainer.step)
        self.metric = extractor.kernel if extractor else ""
        self.best_score = folder.best_value(self.metric, self._warn)

    def is_due(self) -> bool:
        """Whether a look is due after the present step."""
        step = self.trainer.step
        return bool(self.every) and (step % self.every == 0 or step == self.plan.total)

    def is_owed(self) -> bool:
        """Whether the look that was due at the checkpoint is missing, because a signal ended it."""
        due = self.trainer.step > 0 and self.is_due() and self.ranks.first
        [owed] = self.ranks.any(due and not self.metrics.looked_at(self.trainer.step))
        return owed

    def look(self, stopping: Callable[[], bool]) -> dict[str, float]:
        """Look at the run. Returns the results for metrics.csv; they are empty on other ranks than
        the first, and if `stopping` ended the look.

        Raises DataError, or OtherRankFailed on other ranks, if held-out pictures can't be read.
        """
        row: dict[str, float] = {}
        failure = None
        if self.ranks.first:
            try:
                row = self._examine(stopping)
            except DataError as error:
                failure = error
        failed, self.out_of_patience = self.ranks.any(
            failure is not None, self._is_out_of_patience()
        )
        if failed:
            raise failure or OtherRankFailed()
        return row

    def _examine(self, stopping: Callable[[], bool]) -> dict[str, float]:
        step = self.trainer.step
        try:
            look = self.examiner.look(self.trainer, self.metrics.history(step), stopping)
        except LookStopped:
            self.cut_short = True
            return {}
        self.latest = look.row
        for finding in self.diagnosis.add(step, look):
            self.console.print(f"step {step:,}: {finding}", style="yellow", markup=False)
        if look.score is not None:
            self._judge(step, look.score)
        for callback in self.callbacks:
            callback.on_look(step, look)
        return look.row

    def _judge(self, step: int, score: float) -> None:
        """Record a score, and save the weights if it is the best so far."""
        self.scores.append(score)
        message = f"step {step:,}: held-out {self.metric} {score:.4f}"
        if score < self.best_score:
            self.best_score = score
            self.folder.save_best(self.metric, score)
            message += ", the best so far"
        self.console.print(message)

    def _warn(self, text: str) -> None:
        self.console.print(text, style="yellow", markup=False)

    def _is_out_of_patience(self) -> bool:
        """Whether the distance has not improved in the last `patience` looks."""
        patience = self.plan.config.patience
        if not patience or not self.scores:
            return False
        return len(self.scores) - 1 - int(np.argmin(self.scores)) >= patience
