#!/usr/bin/env bash
# The gate in plain shell: what every CI system below runs.
#
#   gate.sh save    [pytest options]   measure, and keep the baseline
#   gate.sh compare [pytest options]   measure, and compare with it
#
# Exit code of compare: 0 passed, 1 a test or a gate failed, 3 the run did not finish, 4 it cannot be
# compared, 7 inconclusive.
#
# SPEC_SUITES   what to run                       (suites/)
# SPEC_STORAGE  folder of the baseline            (.draftproof)
# SPEC_REPORT   folder of the report              (spec-report)
# SPEC_GATES    gates, separated by blanks        (acceptance_rate:-0.02 block_efficiency@overall:-3%)
# SPEC_SUMMARY  file that the comparison is added to, as Markdown
# PYTHON        the interpreter                   (python)
set -euo pipefail

mode=${1:?give save or compare}
shift
report=${SPEC_REPORT:-spec-report}
storage=${SPEC_STORAGE:-.draftproof}
read -r -a gates <<< "${SPEC_GATES:-acceptance_rate:-0.02 block_efficiency@overall:-3%}"
run=("${PYTHON:-python}" -m pytest "${SPEC_SUITES:-suites/}" --report "--report-dir=$report"
     "--spec-storage=$storage" "$@")
finished=$(mktemp -d)/exit-code
trap 'rm -rf "${finished%/*}"' EXIT

# Measures, and sets code: an exit code is believed only where the session wrote it at its end.
measure() {
  code=0
  "${run[@]}" "--spec-finished=$finished" "$@" || code=$?
  if [[ $code != [1234] && $(cat "$finished" 2> /dev/null) != "$code" ]]; then
    echo "gate: the run ended with exit code $code, and did not come to its end" >&2
    code=3
  fi
}

case $mode in
  save)
    measure --spec-save=main --spec-save-traces
    exit "$code"
    ;;
  compare)
    measure --spec-compare=main "${gates[@]/#/--spec-fail=}"
    if [[ -n ${SPEC_SUMMARY:-} && -f $report/comparison.md ]]; then
      cat "$report/comparison.md" >> "$SPEC_SUMMARY"
    fi
    if [[ $code == 7 ]]; then
      echo "gate: inconclusive; the lines above say how many prompts would decide" >&2
    fi
    exit "$code"
    ;;
  *)
    echo "gate: '$mode' is neither save nor compare" >&2
    exit 4
    ;;
esac
