#!/bin/sh
# Train the models of weights/ again, and put them there with their examples and hashes:
#
#     python examples/emoji/build.py data/emoji --size 128
#     python examples/emoji/strokes.py data/emoji
#     python examples/emoji/build.py data/emoji64 --size 64 --packages data/emoji/.packages
#     python examples/earth/build.py data/earth --size 256
#     python examples/photos/build.py data/photos256 --size 256 --shippable
#     python examples/photos/build.py data/photos512 --size 512 --shippable
#     python examples/photos/darken.py data/photos256 data/photos512 --out data/dark
#     sh examples/train_weights.sh data
#
# Hours on a CPU; needs '.[train,eval]'. Run it again to go on where it was.
set -eu
emoji=${1%/}/emoji small=${1%/}/emoji64 earth=${1%/}/earth dark=${1%/}/dark runs=${2:-runs} weights=$(dirname "$0")/../weights

train() { # NAME [OPTION ...]
    name=$1
    shift
    img2img train --name "$name" --out "$runs" --resume auto --seed 0 "$@"
}

pairs() { # NAME DATA INPUTS TRUTHS [OPTION ...]: pix2pix
    name=$1 data=$2 inputs=$3 truths=$4
    shift 4
    train "$name" --preset modern --mode pix2pix --batch 4 --precision bf16 --eval-every 0 \
        --a "$data/train/$inputs" --b "$data/train/$truths" \
        --test-a "$data/test/$inputs" --test-b "$data/test/$truths" "$@"
}

ship() { # RUN BUNDLE NAME DATA INPUTS: eight held-out pictures become the model's examples
    cp "$runs/$1/export/$2.onnx" "$weights/$3.onnx"
    rm -rf "$weights/examples/$3"
    mkdir -p "$weights/examples/$3"
    ls "$4/test/$5" | awk 'NR % 18 == 5' | head -8 | while read -r picture; do
        cp "$4/test/$5/$picture" "$weights/examples/$3/"
    done
}

pairs flat-to-3d "$emoji" flat 3d \
    --size 128 --width 32 --levels 6 --steps 6000 --decay 0.3 --licence MIT
img2img export "$runs/flat-to-3d" --half-weights

# Colors have to be guessed: not by changing the input, and with a discriminator that sees colors.
pairs strokes-to-3d "$emoji" strokes strokes-3d --residual off --l1 50 --perceptual 4 --dropout \
    --discriminator patch --d-width 32 --objective rpgan --r1 2 --r2 2 --penalty-every 4 \
    --generator-lr 4e-4 --ema 0.998 --no-flip \
    --size 128 --width 28 --levels 6 --steps 3800 --decay 0.4 --licence MIT
img2img export "$runs/strokes-to-3d" --precision int8

# Crops of 128 of 256 px: a quarter of the time.
pairs map-to-satellite "$earth" map satellite --residual off --l1 15 --perceptual 4 \
    --augment translation,cutout --generator-lr 5e-4 --padding replicate \
    --size 128 --resize 0 --width 28 --levels 6 --steps 4700 --decay 0.3 --licence CC0-1.0
img2img export "$runs/map-to-satellite" --half-weights

# From the generator above, and not mirrored: the relief's light comes from one side.
pairs relief-to-satellite "$earth" relief satellite --residual off --l1 15 --perceptual 4 \
    --augment translation,cutout --generator-lr 5e-4 --padding replicate --no-flip \
    --pretrained "$runs/map-to-satellite" \
    --size 128 --resize 0 --width 28 --levels 6 --steps 2400 --decay 0.4 --licence CC0-1.0
img2img export "$runs/relief-to-satellite" --half-weights

# A U-Net with blocks at the full size, which the paper's does not have, keeps hair and branches. No
# attention, whose memory grows with the square of a photograph's pixels.
pairs dark-to-light "$dark" dark clean --generator attention-unet --attention "" --residual off \
    --l1 60 --generator-lr 3e-4 --padding replicate \
    --size 192 --resize 0 --batch 2 --width 12 --levels 5 --steps 5400 --licence CC-BY-4.0
img2img export "$runs/dark-to-light" --half-weights

# Whole pictures of 64 px; the generators begin with the paper's cycle and identity losses.
flat_noto() { # NAME STEPS [OPTION ...]
    name=$1 steps=$2
    shift 2
    train "$name" --preset modern --mode cyclegan --size 64 --width 24 --levels 5 --no-flip \
        --ema 0.998 --batch 4 --steps "$steps" --precision bf16 --eval-every 0 \
        --a "$small/train/flat" --b "$small/train/noto" \
        --test-a "$small/test/flat" --test-b "$small/test/noto" \
        --licence "MIT AND Apache-2.0" "$@"
}
flat_noto flat-noto-first 1000 --cycle 10 --identity 0.5
flat_noto flat-noto 2400 --pretrained "$runs/flat-noto-first"
img2img export "$runs/flat-noto" --half-weights

# Whole pictures of 64 px. Every folder is a domain: three styles of colored drawings. Colors may
# change little, and no classification loss stands beside the scores of the domains.
rm -rf "$small-three"
for part in train test; do
    mkdir -p "$small-three/$part"
    for style in 3d flat noto; do cp -R "$small/$part/$style" "$small-three/$part/"; done
done
train three-styles --preset modern --mode stargan --size 64 --width 32 --blocks 4 --no-flip \
    --residual off --classification 0 --color 3 --padding replicate \
    --discriminator mixture --d-norm instance --generator-lr 4e-4 --discriminator-lr 6e-4 \
    --batch 4 --steps 6000 --precision bf16 --eval-every 0 \
    --data "$small-three/train" --test-data "$small-three/test" --licence "MIT AND Apache-2.0"
img2img export "$runs/three-styles"

ship flat-to-3d flat-to-3d flat-to-3d "$emoji" flat
ship strokes-to-3d strokes-to-3d-int8 strokes-to-3d "$emoji" strokes
ship dark-to-light dark-to-light dark-to-light "$dark" dark
ship map-to-satellite map-to-satellite map-to-satellite "$earth" map
ship relief-to-satellite relief-to-satellite relief-to-satellite "$earth" relief
ship flat-noto flat-noto-ab flat-noto-ab "$emoji" flat
ship flat-noto flat-noto-ba flat-noto-ba "$emoji" noto
ship three-styles three-styles three-styles "$emoji" flat
# In the order in which they are offered: the demo begins with the first.
(cd "$weights" && sha256sum strokes-to-3d.onnx flat-to-3d.onnx dark-to-light.onnx map-to-satellite.onnx \
    relief-to-satellite.onnx three-styles.onnx flat-noto-ab.onnx flat-noto-ba.onnx > SHA256SUMS)
