#!/usr/bin/env bash
# On a machine with a CUDA device, in under ten minutes: build, GPU tests, benches.
# With arguments only the steps named: bench/gpu.sh train. Each step has a limit in seconds; the last,
# the training step's bench, takes what the others leave, at least 150.
# JSON and logs go to $OUT (default bench/results); nothing is fetched.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-bench/results}
python=${PYTHON:-python3}
mkdir -p "$out"

"$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || {
    echo "bench/gpu.sh: no CUDA device that this Python's torch can use"
    exit 1
}

failed=0
left() { echo $((590 - SECONDS)); }
wanted=" $* "
step() { # name, seconds, command...
    local name=$1 seconds=$2
    shift 2
    [[ "$wanted" == "  " || "$wanted" == *" $name "* ]] || return 0
    echo "== $name"
    [ "$seconds" -le "$(left)" ] || seconds=$(left)
    timeout "$seconds" "$@" 2>&1 | tee "$out/gpu_$name.log" | tail -n 60
    local status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || { echo "== $name: exit status $status"; failed=1; }
    return "$status"
}

arch=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')
export CMAKE_ARGS="-DCMAKE_CUDA_ARCHITECTURES=$arch ${CMAKE_ARGS:-}"
# The Triton kernels need no build: they are tested and timed also where the rest does not compile.
step build 120 "$python" -m pip install -q --no-index --no-deps --no-build-isolation -e . ||
    export PYTHONPATH=$PWD/kernels${PYTHONPATH:+:$PYTHONPATH}
step tests 60 "$python" -m pytest -q -m gpu --continue-on-collection-errors tests
# A short set: cuts and matting of every size, one shape of morphology.
for tool in memcheck racecheck; do
    step "$tool" 40 compute-sanitizer --tool "$tool" --error-exitcode 9 \
        "$python" -m pytest -q -x -m gpu -k "(every_size and not 64-700) or (own_for_each and False-split_trimap-64-64)" tests/gpu
done
step label 90 "$python" -m bench.speed.label --device cuda --seconds 70 --out "$out/label_gpu.json"
step kernel_bench 70 "$python" -m bench.speed.kernels --seconds 50 --out "$out/kernels.json"
step kernel_host 30 "$python" -m bench.speed.kernels --host --out "$out/kernels_host.json"
step kernel_tests 60 "$python" -m pytest -q -x tests/kernels
# A row that is begun takes a minute or more: that of compiling it.
step train 590 "$python" -m bench.speed.train --device cuda --seconds $(($(left) - 60)) --out "$out/train.json"
exit "$failed"
