#!/bin/sh
# Train the models of weights/ again, and put them there with their examples and hashes:
#
#     python examples/emoji/build.py data/emoji --size 128
#     python examples/emoji/strokes.py data/emoji
#     sh examples/emoji/train_weights.sh data/emoji
#
# Hours on a CPU; needs '.[train,eval]'. Run it again to go on where it was.
set -eu
data=${1%/} runs=${2:-runs} weights=$(dirname "$0")/../../weights

train() { # NAME [OPTION ...]
    name=$1
    shift
    img2img train --name "$name" --out "$runs" --resume auto --seed 0 "$@"
}

ship() { # RUN BUNDLE NAME FOLDER: eight of the folder's held-out pictures become its examples
    cp "$runs/$1/export/$2.onnx" "$weights/$3.onnx"
    rm -rf "$weights/examples/$3"
    mkdir -p "$weights/examples/$3"
    ls "$data/test/$4" | awk 'NR % 18 == 5' | head -8 | while read -r picture; do
        cp "$data/test/$4/$picture" "$weights/examples/$3/"
    done
}

train flat-to-3d --preset modern --mode pix2pix --size 128 --width 32 --levels 6 \
    --a "$data/train/flat" --b "$data/train/3d" --test-a "$data/test/flat" --test-b "$data/test/3d" \
    --batch 4 --steps 6000 --decay 0.3 --precision bf16 --eval-every 0 --licence MIT
img2img export "$runs/flat-to-3d"

# The models below have the settings of the modern presets of their time. A weight of 2 is halved with
# the discriminator's loss: when these were trained, 1 was not.
relativistic='--objective rpgan --penalty-every 4 --r1 2 --r2 2'
pairs="$relativistic --norm instance --augment colour,translation,cutout"
train strokes-to-3d $pairs --mode pix2pix --size 128 --width 32 --d-width 32 --levels 5 \
    --a "$data/train/strokes" --b "$data/train/strokes-3d" \
    --test-a "$data/test/strokes" --test-b "$data/test/strokes-3d" \
    --batch 4 --steps 5500 --dropout --generator-lr 4e-4 --ema 0.998 --eval-every 2750 --licence MIT
img2img export "$runs/strokes-to-3d" --precision int8

# Crops of 64 of 128 px: a quarter of the time.
train flat-noto $relativistic --mode cyclegan --size 64 --resize 0 --width 32 --d-width 32 \
    --blocks 6 --generator-lr 5e-4 --discriminator-lr 5e-4 \
    --a "$data/train/flat" --b "$data/train/noto" \
    --test-a "$data/test/flat" --test-b "$data/test/noto" \
    --batch 1 --steps 16000 --ema 0.998 --eval-every 3000 --licence "MIT AND Apache-2.0"
img2img export "$runs/flat-noto"
# Whole pictures, at 64 px first. Every folder is a domain: here those whose licence allows to ship.
rm -rf "$data-free"
for part in train test; do
    mkdir -p "$data-free/$part"
    for style in 3d flat lineart noto; do cp -R "$data/$part/$style" "$data-free/$part/"; done
done
styles() { # NAME SIZE LAYERS STEPS [OPTION ...]
    name=$1 size=$2 layers=$3 steps=$4
    shift 4
    train "$name" --preset modern --mode stargan --size "$size" --width 32 --d-width 32 \
        --d-layers "$layers" \
        --data "$data-free/train" --test-data "$data-free/test" --batch 4 --steps "$steps" \
        --generator-lr 3e-4 --discriminator-lr 3e-4 --eval-every 2000 \
        --licence "MIT AND Apache-2.0" "$@"
}
styles four-styles-64 64 5 16000
styles four-styles 128 6 6000 --pretrained "$runs/four-styles-64"
img2img export "$runs/four-styles" --checkpoint last

ship flat-to-3d flat-to-3d flat-to-3d flat
ship strokes-to-3d strokes-to-3d-int8 strokes-to-3d strokes
ship flat-noto flat-noto-ab flat-noto-ab flat
ship flat-noto flat-noto-ba flat-noto-ba noto
ship four-styles four-styles four-styles noto
(cd "$weights" && sha256sum *.onnx > SHA256SUMS)
