#!/bin/sh
# Train the models of weights/ again, and put them there with their examples and hashes:
#
#     python examples/emoji/build.py data/emoji --size 128
#     python examples/emoji/strokes.py data/emoji
#     sh examples/emoji/train_weights.sh data/emoji
#
# Hours on a CPU. Run it again to go on where it was.
set -eu
data=$1 runs=${2:-runs} weights=$(dirname "$0")/../../weights

train() { # NAME [OPTION ...]
    name=$1
    shift
    img2img train --name "$name" --out "$runs" --resume auto --preset modern --seed 0 "$@"
}

ship() { # NAME BUNDLE FOLDER: eight of the folder's held-out pictures become its examples
    cp "$runs/$1/export/$2.onnx" "$weights/$1.onnx"
    rm -rf "$weights/examples/$1"
    mkdir -p "$weights/examples/$1"
    ls "$data/test/$3" | awk 'NR % 18 == 5' | head -8 | while read -r picture; do
        cp "$data/test/$3/$picture" "$weights/examples/$1/"
    done
}

train flat-to-3d --mode pix2pix --size 128 --width 32 --d-width 32 --levels 5 \
    --a "$data/train/flat" --b "$data/train/3d" --test-a "$data/test/flat" --test-b "$data/test/3d" \
    --batch 4 --steps 4500 --generator-lr 4e-4 --ema 0.998 --eval-every 1500 --licence MIT
img2img export "$runs/flat-to-3d"
train strokes-to-3d --mode pix2pix --size 128 --width 32 --d-width 32 --levels 5 \
    --a "$data/train/strokes" --b "$data/train/strokes-3d" \
    --test-a "$data/test/strokes" --test-b "$data/test/strokes-3d" \
    --batch 4 --steps 5500 --generator-lr 4e-4 --ema 0.998 --eval-every 2750 --licence MIT
img2img export "$runs/strokes-to-3d" --checkpoint last --precision int8

ship flat-to-3d flat-to-3d flat
ship strokes-to-3d strokes-to-3d-int8 strokes
(cd "$weights" && sha256sum *.onnx > SHA256SUMS)
