// npm install; node translate.mjs MODEL.onnx IN.png OUT.png
import { readFileSync, writeFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { PNG } from "pngjs";

const [model, input, output] = process.argv.slice(2);
const picture = PNG.sync.read(readFileSync(input)); // RGBA, 8 bits
const { width, height } = picture;
const rgb = picture.data.filter((_, index) => index % 4 < 3);
const session = await ort.InferenceSession.create(model);
const image = new ort.Tensor("uint8", new Uint8Array(rgb), [1, height, width, 3]);
const { translated } = await session.run({ image });
translated.data.forEach((value, index) => (picture.data[Math.floor(index / 3) * 4 + (index % 3)] = value));
writeFileSync(output, PNG.sync.write(picture));
