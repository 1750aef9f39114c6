#!/usr/bin/env bash
# On a machine with a CUDA device, in under ten minutes: build, GPU tests, benches.
# With arguments only the steps named: bench/gpu.sh train. The steps' limits, in seconds, sum to
# less than 600. JSON and logs go to $OUT (default bench/results); nothing is fetched.
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
wanted=" $* "
step() { # name, seconds, command...
    local name=$1 seconds=$2
    shift 2
    [[ "$wanted" == "  " || "$wanted" == *" $name "* ]] || return 0
    echo "== $name"
    timeout "$seconds" "$@" 2>&1 | tee "$out/gpu_$name.log" | tail -n 60
    local status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || { echo "== $name: exit status $status"; failed=1; }
    return "$status"
}

# The kernels need no build: they are tested and timed also where the rest does not compile.
step build 80 "$python" -m pip install -q --no-index --no-deps --no-build-isolation -e . ||
    export PYTHONPATH=$PWD/kernels${PYTHONPATH:+:$PYTHONPATH}
step tests 60 "$python" -m pytest -q -m gpu --continue-on-collection-errors tests
step train 170 "$python" -m bench.train --device cuda --seconds 110 --out "$out/train.json"
step kernel_bench 100 "$python" -m bench.kernels --seconds 70 --out "$out/kernels.json"
step kernel_tests 90 "$python" -m pytest -q -x tests/kernels
exit "$failed"
