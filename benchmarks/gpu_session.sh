#!/usr/bin/env bash
# What is worth doing when a machine with an NVIDIA GPU is at hand, results in $OUT (default: ./gpu_session):
# the tests on real arrays, compute-sanitizer where it is installed, the benchmark against PyTorch and cuDNN.
# PYTHON is an interpreter whose environment has this package with the extra cuda12 or cuda13, pytest and ml_dtypes;
# for the peers also torch (which brings cuDNN).
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=${OUT:-$PWD/gpu_session}
mkdir -p "$out"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-$out/cache}
failed=0
step() {  # step NAME COMMAND...: its output goes to a file, its end to the terminal
  local name=$1; shift
  printf '== %s (%s s)\n' "$name" "$SECONDS"
  "$@" >"$out/$name.txt" 2>&1 || { failed=1; printf '   failed: %s\n' "$out/$name.txt"; }
  tail -n 3 "$out/$name.txt"
}

sanitized() {  # sanitized COMMAND...: every case of tests/cuda/sanitized.py under it, side by side
  "$python" -m tests.cuda.sanitized --names | xargs -d '\n' -P "$(nproc)" -I{} "$@" "$python" -m tests.cuda.sanitized {}
}

step config "$python" -m numba_lrn info
step tests "$python" -m pytest -q -p no:cacheprovider tests/cuda tests/torch/test_on_a_card.py
if command -v compute-sanitizer >/dev/null; then
  step forms sanitized env
  for tool in memcheck racecheck synccheck; do
    # Errors of the interface are left out: the bindings look for functions that an older driver does not have.
    step "$tool" sanitized compute-sanitizer --tool "$tool" --report-api-errors no --error-exitcode 1
  done
else
  echo "== memcheck, racecheck, synccheck: compute-sanitizer is not installed" | tee "$out/memcheck.txt"
fi
step bench "$python" -m numba_lrn bench --backend cuda --against torch,torch.compile,cudnn \
  --direction forward,backward,jvp,parameters,double_backward \
  --min-time 0.2 --json "$out/bench.json" --markdown "$out/bench.md"
step kernels "$python" -m benchmarks.cuda_kernels run "$out/kernels.json"
printf '== done (%s s), %s\n' "$SECONDS" "$( ((failed)) && echo "with failures" || echo "all passed")"
exit "$failed"
