"""spark-submit translate.py MODEL.onnx IN OUT   (pip install img2img-gan pyspark; needs Java)

A pandas UDF around the Translator: each of Spark's Python processes loads the model once, which
comes with the function, so that the workers need no file of it.
"""

import io
import os
import sys
from collections.abc import Iterator

import pandas as pd
from PIL import Image
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, pandas_udf

from img2img import Translator

model, source, target = sys.argv[1:]
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
spark = SparkSession.builder.appName("img2img").getOrCreate()
translator = spark.sparkContext.broadcast(Translator(model, "cpu", threads=1))


@pandas_udf("binary")
def translated(parts: Iterator[pd.Series]) -> Iterator[pd.Series]:
    """The bytes of files -> those of their translations, PNG; none where a file is no picture."""
    from img2img.errors import DataError

    translate = translator.value  # loaded once in each process, and not for each part

    def one(content: bytes) -> bytes | None:
        try:
            Image.fromarray(translate(content)).save(png := io.BytesIO(), "PNG")
        except DataError:
            return None
        return png.getvalue()

    for part in parts:
        yield part.map(one)


pictures = spark.read.format("binaryFile").option("pathGlobFilter", "*.{png,jpg,webp}").load(source)
rows = pictures.select(col("path"), translated(col("content")).alias("png"))
rows.write.mode("overwrite").parquet(target)
done = spark.read.parquet(target)
lost = [row.path for row in done.where(col("png").isNull()).select("path").collect()]
print(f"{done.count() - len(lost)} translated, see {target}")
for path in lost:
    print(f"not a picture: {path}", file=sys.stderr)
spark.stop()
