#!/usr/bin/env bash
# Builds an image and tries it as its user: read-only root, a small /tmp, no capabilities.
#
#   deploy/prove.sh runtime|train cpu|cuda
#
# Needs root, podman, curl and python3 with PyYAML; 3 to 30 GB of disk. Where Python's image can't be
# pulled, a new Debian with Python takes its place, which debootstrap makes (DEBIAN=http://... is its
# mirror then). The ports 7860, 8000 and 29500 must be free. Images and their layers are kept.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1 device=$2
python=$(sed -n 's/^ARG PYTHON=//p' Dockerfile)
work=$(mktemp -d)
started=()
# As an orchestrator that grants nothing would start a container.
strict=(--network host --read-only --read-only-tmpfs=false --tmpfs "/tmp:exec,size=512m"
    --cap-drop all --security-opt no-new-privileges --volume "$work/data:/data")
small=(--steps 2 --size 32 --width 4 --d-width 4 --blocks 1 --eval-every 0)

finish() {
    [ ${#started[@]} = 0 ] || podman --log-level fatal rm --force "${started[@]}" > /dev/null
    rm -rf "$work"
}
trap finish EXIT

ok() { echo "ok: $*"; }

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

stand_in() { # for Python's image, whose name ends with the release of Debian
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip \
        "${python##*-}" "$work/root" ${DEBIAN:+"$DEBIAN"} > "$work/debootstrap"
    ln -s python3 "$work/root/usr/bin/python"
    rm -f "$work"/root/usr/lib/python3*/EXTERNALLY-MANAGED "$work"/root/var/cache/apt/archives/*.deb
    printf 'Dir::Cache::%s "";\n' pkgcache srcpkgcache > "$work/root/etc/apt/apt.conf.d/no-cache"
    tar -C "$work/root" -c . | podman import --quiet - "docker.io/library/$python" > /dev/null
    rm -rf "$work/root"
}

build() { # name, options: an image for the device
    podman build --pull=never --format docker --target "$target" --build-arg "DEVICE=$device" \
        --build-arg "TORCH_INDEX=${TORCH_INDEX:-}" \
        --tag "$@" . > "$work/build" 2>&1 || fail "$(tail -20 "$work/build")"
    ok "$1 is built; $(run --entrypoint du "$1" -sm /opt/img2img | cut -f1) MiB are packages"
}

run() { # options, image, command
    podman --log-level fatal run --rm --no-healthcheck "${strict[@]}" "$@"
}

start() { # name, options, image, command: in the background
    started+=("$1")
    podman --log-level fatal run --detach "${strict[@]}" --name "$@" > /dev/null
}

stop() { # name: with SIGTERM, and long before it would be killed
    SECONDS=0
    podman --log-level fatal stop --time 60 "$1" > /dev/null
    [ "$SECONDS" -lt 30 ] || fail "$1 had to be killed"
}

await() { # command: until it succeeds, for two minutes
    for _ in $(seq 120); do
        ! "$@" > /dev/null 2>&1 || return 0
        sleep 1
    done
    fail "not within two minutes: $*"
}

await_health() { # name: until the image's HEALTHCHECK passes, which it must not do at once
    ! podman healthcheck run "$1" > /dev/null 2>&1 || fail "$1 is healthy before it serves"
    await podman healthcheck run "$1"
}

command_of() { # name of a manifest, index of the pod: the words that Kubernetes starts
    # shellcheck disable=SC2016 # Kubernetes expands it
    python3 -c '
import sys, yaml
*_, last = yaml.safe_load_all(open(sys.argv[1]))
[container] = last["spec"]["template"]["spec"]["containers"]
for word in container.get("command", []) + container["args"]:
    print(word.replace("$(JOB_COMPLETION_INDEX)", sys.argv[2]).replace("$(NAMESPACE)", "default"))
' "deploy/kubernetes/$1.yaml" "$2"
}

rights() { # image
    # shellcheck disable=SC2016 # the shell in the container expands it
    run --entrypoint sh "$1" -c '
        test "$(id -u):$(id -g)" = 1000:1000 || exit 1
        for folder in / /opt/img2img /home/img2img /var/tmp; do
            ! touch "$folder/x" 2> /dev/null || exit 1
        done
        grep -q "^CapEff:[[:space:]]*0*$" /proc/self/status
    ' || fail "$1 has rights that it should not have"
    ok "user 1000, nothing but /data and /tmp can be written, no capabilities"
}

translate() { # image
    run "$1" translate photos -o out -m flat-to-3d
    [ "$(find "$work/data/out" -name '*.webp' -user 1000 | wc -l)" = "$count" ] || fail "too few"
    install -d -o 4321 -g 4321 "$work/data/others"
    run --user 4321:4321 "$1" translate photos -o others -m flat-to-3d
    ok "translate, as user 1000 and as one without a name"
    for index in 0 1 2 3; do
        mapfile -t words < <(command_of translate "$index")
        run --env "JOB_COMPLETION_INDEX=$index" --env SHARDS=4 --entrypoint "${words[0]}" \
            "$1" "${words[@]:1}" --output=shards
    done
    diff -r -x '.*' "$work/data/out" "$work/data/shards" || fail "the parts differ from the whole"
    ok "the commands of translate.yaml's four pods write together what one command writes"
}

serve() { # image
    mapfile -t words < <(command_of serve 0)
    start img2img-serve "$1" "${words[@]}"
    await_health img2img-serve
    picture=$(find "$work/data/photos" -type f | sort | head -1)
    curl --fail --silent --show-error --header "Host: img2img.default.svc" \
        --data-binary "@$picture" --output "$work/answer.png" http://127.0.0.1:8000/v1/translate
    for path in readyz healthz; do
        curl --fail --silent "http://127.0.0.1:8000/$path" > /dev/null || fail "no /$path"
    done
    stop img2img-serve
    ok "serve.yaml's command becomes healthy, answers to the service's name, and stops in time"
}

demo() { # image
    start img2img-demo "$1" demo --host 0.0.0.0 --port 7860
    await_health img2img-demo
    stop img2img-demo
    ok "demo becomes healthy, and stops in time"
}

start_pods() { # image, options: two containers as the two pods of train.yaml
    for index in 1 0; do
        mapfile -t words < <(command_of train "$index")
        start "img2img-train-$index" --add-host img2img-train-0.img2img-train:127.0.0.1 \
            --shm-size 1g --entrypoint "${words[0]}" "$1" "${words[@]:1}" "${small[@]}" "${@:2}"
    done
}

is_past() { # run, step
    [ "$(tail -1 "$work/data/runs/$1/metrics.csv" | cut -d, -f1)" -gt "$2" ]
}

train() { # image
    run "$1" train --mode cyclegan --a horses --b zebras --name one "${small[@]}" --batch 2
    run "$1" train --resume runs/one --steps 4
    run "$1" export runs/one
    run "$1" translate photos -o trained -m one --direction ab
    ok "train of two steps, two more, export, translate"
    start img2img-train "$1" train --mode cyclegan --a horses --b zebras --name long "${small[@]}" \
        --steps 100000
    await is_past long 0
    stop img2img-train
    run "$1" train --resume runs/long --max-time 1s
    ok "a training that is stopped goes on"
    start_pods "$1" --steps 100000 --save-every 20
    await is_past zebras 0
    podman kill img2img-train-1 > /dev/null
    [ "$(podman wait img2img-train-0)" != 0 ] || fail "pod 0 does not notice that pod 1 is gone"
    last=$(tail -1 "$work/data/runs/zebras/metrics.csv" | cut -d, -f1)
    podman --log-level fatal start img2img-train-1 img2img-train-0 > /dev/null
    await is_past zebras "$last"
    podman --log-level fatal stop --time 60 img2img-train-0 img2img-train-1 > /dev/null
    ok "the commands of train.yaml's two pods train together; one is killed, both are started again: past step $last"
    run --entrypoint sh "$1" -c 'echo "int seven(void) { return 7; }" > /tmp/seven.c \
        && gcc -shared -fPIC -o /tmp/seven.so /tmp/seven.c \
        && python -c "import ctypes; assert ctypes.CDLL(\"/tmp/seven.so\").seven() == 7"'
    ok "code from the C compiler, which Triton calls, can be loaded from /tmp"
}

podman image exists "$python" || podman pull --quiet "$python" 2> "$work/pull" || stand_in
ok "$python: $(podman run --rm "$python" python --version)"

mkdir "$work/data"
cp -r examples/quickstart/test/flat "$work/data/photos"
cp -r examples/quickstart/train/flat "$work/data/horses"
cp -r examples/quickstart/train/3d "$work/data/zebras"
count=$(find "$work/data/photos" -type f | wc -l)
chown -R 1000:1000 "$work/data"
chmod 755 "$work"

image=img2img:proof-$target-$device
build "$image"
rights "$image"
translate "$image"
if [ "$target" = train ]; then
    train "$image"
else
    serve "$image"
    build "$image-demo" --build-arg "EXTRAS=demo tile formats"
    demo "$image-demo"
fi
echo "$image: all steps passed"
