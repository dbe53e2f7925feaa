import torch
from torch import nn

from img2img.nets.norm import RunningAveragesKept, image_statistics
from img2img.nets.unet import UNet


def test_image_statistics_is_batch_norm_in_train_mode_at_batch_one():
    torch.manual_seed(0)
    unet = UNet(width=4, levels=5, norm="batch", dropout=False).train()
    for layer in unet.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1, 0.3)
            nn.init.normal_(layer.bias, 0, 0.3)
    image = torch.rand(3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        alone = torch.cat([unet(picture[None]) for picture in image])
        together = image_statistics(unet)(image)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_image_statistics_drops_nothing_out_and_leaves_the_original_alone():
    unet = UNet(width=4, levels=6, norm="batch", dropout=True).train()
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    view = image_statistics(unet)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(view(image), view(image))
    assert any(isinstance(layer, nn.Dropout) for layer in unet.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in unet.state_dict().items())


def test_image_statistics_of_a_bare_norm_layer_is_converted_too():
    norm = nn.Sequential(nn.BatchNorm2d(3))
    assert isinstance(image_statistics(norm)[0], nn.InstanceNorm2d)


def test_averages_are_kept_each_time_that_they_are_asked_to_be():
    norm, image = nn.BatchNorm2d(3), torch.rand(2, 3, 4, 4)
    kept = RunningAveragesKept(norm)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    for _ in range(2):
        with kept:
            norm(image)
        assert all(torch.equal(before[name], buffer) for name, buffer in norm.named_buffers())
    norm(image)
    assert norm.num_batches_tracked == 1
    assert not torch.equal(before["running_mean"], norm.running_mean)
