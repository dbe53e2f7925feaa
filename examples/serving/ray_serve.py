"""serve run ray_serve:app   (pip install 'img2img-gan[ray,models]' 'ray[serve]')"""

import io

import img2img  # isort: skip  # before Ray, whose reports to its maker it turns off
from PIL import Image
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(ray_actor_options={"num_cpus": 1})  # or "num_gpus": 1
class Translate:
    def __init__(self) -> None:
        self.translator = img2img.Translator("flat-to-3d", threads=1)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.002)
    async def translated(self, files: list[bytes]) -> list[Image.Image]:
        return [Image.fromarray(pixels) for pixels in self.translator(files)]

    async def __call__(self, request: Request) -> Response:
        (await self.translated(await request.body())).save(png := io.BytesIO(), "PNG")
        return Response(png.getvalue(), media_type="image/png")


app = Translate.bind()
