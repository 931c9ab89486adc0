#!/usr/bin/env bash
# Seconds of the whole study (four domains, plain and with speculation, judged, reported) by an earlier
# commit and by this one in batches, in turn. Run from a clone with the development requirements:
#   bash benchmarks/study_time.sh COMMIT [ROUNDS] [OPTIONS of pytest, such as --spec-target DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
commit="$1"
rounds="${2:-2}"
shift $(($# < 2 ? $# : 2))
out="$(mktemp -d)"
git worktree add -q --detach "$out/earlier" "$commit"
trap 'git worktree remove -f "$out/earlier"; rm -rf "$out"' EXIT
study() { # FOLDER of the sources, NAME, OPTIONS
    local folder="$1" name="$2" began
    shift 2
    began=$(date +%s.%N)
    (cd "$folder" && PYTHONPATH="$folder/harness" python -m pytest -q -p no:cacheprovider suites --report \
        --report-dir "$out/$name" --spec-preset acceptance-dynamics "$@" >"$out/$name.log" 2>&1)
    echo "$name: $(echo "$(date +%s.%N) - $began" | bc) s, $(tail -n 1 "$out/$name.log")"
}
for round in $(seq "$rounds"); do
    study "$out/earlier" "earlier-$round" "$@"
    study "$PWD" "now-$round" --spec-batch auto "$@"
done
