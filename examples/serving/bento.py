"""bentoml serve bento:Translate   (pip install 'img2img-gan[models]' bentoml)"""

import img2img  # isort: skip  # before BentoML, whose reports to its maker it turns off
import bentoml
from PIL import Image


@bentoml.service
class Translate:
    def __init__(self) -> None:
        self.translator = img2img.Translator("flat-to-3d")

    @bentoml.api
    def translate(self, image: Image.Image) -> Image.Image:
        return Image.fromarray(self.translator(image))
