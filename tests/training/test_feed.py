"""What reaches the trainer."""

import pytest
import torch

from img2img.data.stream import Stream
from img2img.training.feed import Feed
from img2img.training.plan import make_plan
from img2img.training.ranks import Ranks
from img2img.training.runtime import Runtime


@pytest.mark.parametrize("mode", ["cyclegan", "stargan"])
@pytest.mark.parametrize("workers", [0, 1])
def test_each_step_has_memory_of_its_own(mode, workers, make_config, quiet, tmp_path):
    """Not a view of a message: how matrix products are rounded may depend on the alignment."""
    config = make_config(mode, run={"workers": workers}, steps=20, size=40, resize=40)
    plan = make_plan(config, quiet)
    runtime = Runtime("cpu")
    given = list(Feed(plan, tmp_path, runtime, Ranks()).batches(3))
    assert len(given) == 17
    assert len({t.untyped_storage().data_ptr() for batch in given for t in batch.values()}) == (
        17 * len(given[0])
    )
    batch = config.method.batch
    stream = Stream(plan.training, plan.augment(training=True), config.seed, batch)
    for step, placed in enumerate(given, 3):
        samples = [stream[step * batch + place] for place in range(batch)]
        expected = runtime.place({n: torch.stack([s[n] for s in samples]) for n in samples[0]})
        assert placed.keys() == expected.keys()
        for name, tensor in placed.items():
            assert tensor.storage_offset() == 0
            assert torch.equal(tensor, expected[name])
