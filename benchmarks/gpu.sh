#!/usr/bin/env bash
# Everything that is measured on one GPU: the suites in three types, and speed with random weights of
# the study's pair. Run from the root of the repository:
#   bash benchmarks/gpu.sh [FOLDER for the reports]
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-reports/gpu}"
python -m pip install -q -c constraints.txt -e '.[test]'
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv
python -m pytest -q tests/unit/engines/test_rows.py tests/unit/models/test_hugging_face.py
for dtype in float32 bfloat16 float16; do
    for temperature in 0 1; do
        python -m pytest suites --report --report-dir "$out/$dtype-$temperature" --spec-device cuda \
            --spec-dtype "$dtype" --spec-temperature "$temperature" --spec-batch auto || true
    done
done
python benchmarks/speed.py --device cuda --batches 1,16 --write
python benchmarks/speed.py --shapes llama-2-7b --dtype bfloat16 --device cuda \
    --batches 1,8,32 --trees chain:5,3x2 --prompts 8 --max-new-tokens 128 --rounds 3 --write
