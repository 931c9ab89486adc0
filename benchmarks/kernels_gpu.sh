#!/usr/bin/env bash
# Examines verification functions that need a GPU, whichever are installed; see docs/kernels.md.
#
#     bash benchmarks/kernels_gpu.sh [FOLDER]
#
# Writes one page a function into FOLDER (default: kernels-gpu). Exits with 1 if any has a fault.
set -uo pipefail
folder=${1:-kernels-gpu}
mkdir -p "$folder"
code=0
run() { # the module it needs, and the adapter
  if ! python -c "import $1" 2>/dev/null; then
    echo "$2: $1 is not installed; left out"
    return
  fi
  draftproof verify-kernel "draftproof.kernels.known:$2" --device cuda \
    --markdown "$folder/$2.md" --json "$folder/$2.json" || code=1
}
run vllm vllm_rejection_sample
run vllm vllm_rejection_sample_ngram
run flashinfer flashinfer_chain_speculative_sampling
run sgl_kernel sglang_tree_speculative_sampling_target_only
exit "$code"
