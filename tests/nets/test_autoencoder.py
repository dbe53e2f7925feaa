"""The autoencoder that judges by how well it rebuilds."""

import torch

from img2img.nets.autoencoder import AutoEncoder


def test_the_logit_is_minus_the_mean_squared_error_of_each_picture():
    torch.manual_seed(0)
    judge = AutoEncoder(3, 4, 3, "instance")
    image = torch.rand(2, 3, 32, 24) * 2 - 1
    rebuilt = judge.decoder(judge.encoder(image))
    assert rebuilt.shape == image.shape
    energy = ((rebuilt - image) ** 2).flatten(1).mean(1)
    assert torch.allclose(judge(image), -energy[:, None])
    assert judge(rebuilt.detach()).shape == (2, 1)


def test_what_it_has_learned_has_less_energy_than_what_it_has_not():
    torch.manual_seed(0)
    judge = AutoEncoder(1, 8, 2, "instance")
    rows = torch.arange(16)
    known = torch.where(rows[:, None] % 8 < 4, 1.0, -1.0).expand(4, 1, 16, 16)
    optimizer = torch.optim.Adam(judge.parameters(), 5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        (-judge(known)).mean().backward()
        optimizer.step()
    strange = known.transpose(2, 3)
    assert judge(known).mean() > judge(strange).mean() + 0.2
