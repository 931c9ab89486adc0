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
#
# Beside the report are then tables/*.csv, metrics.txt (OpenMetrics), badge.svg, junit.xml and, after
# save, history.html. In a step of GitHub Actions the report and the history are added to its summary,
# and failures are annotations; nothing that the run prints is taken for a command there.
# PYTHON        the interpreter                   (python)
set -euo pipefail

mode=${1:?give save or compare}
shift
report=${SPEC_REPORT:-spec-report}
storage=${SPEC_STORAGE:-.draftproof}
read -r -a gates <<< "${SPEC_GATES:-acceptance_rate:-0.02 block_efficiency@overall:-3%}"
run=("${PYTHON:-python}" -m pytest "${SPEC_SUITES:-suites/}" --report "--report-dir=$report"
     "--spec-storage=$storage" "--junitxml=$report/junit.xml" "$@")
draftproof=("${PYTHON:-python}" -m draftproof)
finished=$(mktemp -d)/exit-code
trap 'rm -rf "${finished%/*}"' EXIT

# Measures, and sets code: an exit code is believed only where the session wrote it at its end.
measure() {
  local token=
  if [[ -n ${GITHUB_STEP_SUMMARY:-} ]]; then
    token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    echo "::stop-commands::$token"
  fi
  code=0
  "${run[@]}" "--spec-finished=$finished" "$@" || code=$?
  [[ -z $token ]] || printf '\n::%s::\n' "$token"
  if [[ $code != [1234] && $(cat "$finished" 2> /dev/null) != "$code" ]]; then
    echo "gate: the run ended with exit code $code, and did not come to its end" >&2
    code=3
  fi
}

# What other programs show. What goes wrong here changes no exit code.
publish() {
  if [[ ! -f $report/run.json ]]; then
    echo "gate: there is no report in $report to publish" >&2
    return 0
  fi
  "${draftproof[@]}" report "$report" "--csv=$report/tables" "--openmetrics=$report/metrics.txt" \
    "--badge=$report/badge.svg" ${GITHUB_STEP_SUMMARY:+--github} || echo "gate: not published" >&2
}

case $mode in
  save)
    measure --spec-save=main --spec-save-traces
    publish
    if [[ -f $storage/history.jsonl ]]; then
      "${draftproof[@]}" history "$storage" "--html=$report/history.html" --markdown \
        >> "${GITHUB_STEP_SUMMARY:-/dev/null}" || echo "gate: the history was not drawn" >&2
    fi
    exit "$code"
    ;;
  compare)
    measure --spec-compare=main "${gates[@]/#/--spec-fail=}"
    publish
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
