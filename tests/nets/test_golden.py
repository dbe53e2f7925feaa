"""The networks against outputs of the authors' code."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from img2img.nets.patchgan import PatchGAN, PixelGAN
from img2img.nets.resnet import ResNet
from img2img.nets.unet import UNet

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "nets"
NETS = {
    "patchgan_n3_instance_ndf8": lambda: PatchGAN(3, 8, 3, "instance"),
    "patchgan_n5_batch_ndf4_in6": lambda: PatchGAN(6, 4, 5, "batch"),
    "pixelgan_batch_ndf8": lambda: PixelGAN(3, 8, "batch"),
    "resnet_6blocks_batch_ngf8": lambda: ResNet(3, 3, 8, 6, "batch"),
    "resnet_9blocks_instance_ngf8": lambda: ResNet(3, 3, 8, 9),
    "unet_128_batch_ngf4": lambda: UNet(3, 3, 4, 7, "batch", dropout=False),
}


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", NETS)
def test_network_gives_the_authors_output(name, mode):
    network = NETS[name]()
    network.load_state_dict(torch.load(GOLDEN / f"{name}.pth", weights_only=True))
    golden = load_file(GOLDEN / f"{name}.io.safetensors")
    with torch.no_grad():
        output = network.train(mode == "train")(golden["input"].float())
    torch.testing.assert_close(output, golden[f"output_{mode}_mode"], rtol=0, atol=1e-5)
