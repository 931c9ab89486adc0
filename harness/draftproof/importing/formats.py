"""Every format of results that is read, and which of them a file is in: by what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from draftproof.data.prompt import domain_problem
from draftproof.errors import DataError, UsageError, clean_text, unknown_value
from draftproof.importing import aiperf, spec_bench, specdec_bench, speed_bench, vllm, vllm_bench
from draftproof.importing.documents import Document, ResultFile, read_file
from draftproof.importing.results import Format, Results

FORMATS: dict[str, Format] = {
    found.name: found
    for found in (
        vllm.RESPONSES,
        vllm_bench.BENCH,
        aiperf.RECORDS,
        aiperf.SUMS,
        specdec_bench.ANSWERS,
        specdec_bench.SUMS,
        spec_bench.ANSWERS,
        speed_bench.RESULTS,
    )
}
"""By the name that ``--format`` takes."""

_SHOWN = 8


def read_results(
    paths: Sequence[Path], *, format_name: str | None = None, domain: str | None = None
) -> tuple[Format, list[ResultFile], Results]:
    """What the files of one run hold.

    Args:
        paths: One file or several; one in a format that tells a request a line may be in parts.
        format_name: A name of `FORMATS`; None to recognise it by what the files hold.
        domain: The domain of every case; None for the categories that the files tell.

    Returns:
        Their format, the files themselves, and what they tell.

    Raises:
        UsageError: The name or the domain cannot be used.
        DataError: A file cannot be read, is in no known format, or holds what none can; the message
            names the place.
    """
    if format_name is not None and format_name not in FORMATS:
        raise unknown_value("--format", format_name, FORMATS)
    domain = None if domain is None else domain.strip()
    if domain is not None and (problem := domain_problem(domain) or _empty(domain)):
        raise UsageError(f"--domain: {problem}")
    files = [read_file(path) for path in paths]
    documents = [document for file in files for document in file.documents]
    if not documents:
        raise DataError(f"{files[0].path}: an empty list; it holds no result")
    found = FORMATS[format_name] if format_name else _recognised(documents)
    return found, files, _with_cases(found, documents, found.read(documents, domain))


def _recognised(documents: Sequence[Document]) -> Format:
    """The format of the first value that any knows; the others must be of it too.

    Raises:
        DataError: No format knows a value, or two formats are mixed.
    """
    first = documents[0]
    candidates = [found for found in FORMATS.values() if found.recognises(first.value)]
    if not candidates:
        # A request that failed tells nothing of its format.
        later = [(document, _of(document)) for document in documents[1:] if _is_error(first)]
        candidates = [found for _, found in later if found is not None][:1]
    if not candidates:
        raise DataError(
            f"{first.where}: no known result ({_described(first.value)}). Known are: "
            + "; ".join(
                f"{found.name}: {found.title} ({found.signs})" for found in FORMATS.values()
            )
            + ". Give --format to be told what it lacks"
        )
    chosen = candidates[0]
    for document in documents:
        if chosen.recognises(document.value) or _is_error(document):
            continue
        other = _of(document)
        raise DataError(
            f"{document.where}: the file is {chosen.title}, and this is "
            + (f"{other.title}" if other else f"none of it ({_described(document.value)})")
            + ": give the results of one run of one tool"
        )
    return chosen


def _of(document: Document) -> Format | None:
    return next((found for found in FORMATS.values() if found.recognises(document.value)), None)


def _is_error(document: Document) -> bool:
    return isinstance(document.value, dict) and (
        document.value.get("error") is not None or document.value.get("object") == "error"
    )


def _with_cases(found: Format, documents: Sequence[Document], results: Results) -> Results:
    cases = [replace(case, domain=case.domain.strip()) for case in results.cases]
    results = replace(results, cases=tuple(cases))
    for case in results.cases:
        if problem := domain_problem(case.domain):
            raise DataError(f"{documents[0].where}: {case.case_id}: {problem} with --domain")
    if any(case.counts is not None for case in results.cases):
        return results
    reasons = [case.message for case in results.cases][:1] or list(results.notes)[:1]
    raise DataError(
        f"{documents[0].where}: {found.title}, in which no request tells what was accepted"
        + (f" ({reasons[0]})" if reasons else "")
        + "; was speculation on, and the server told to report it?"
    )


def _described(value: object) -> str:
    if isinstance(value, dict):
        keys = [clean_text(str(key), most=40) for key in list(value)[:_SHOWN]]
        more = ", …" if len(value) > _SHOWN else ""
        return f"an object with {', '.join(keys)}{more}" if keys else "an empty object"
    kinds = {list: "a list", str: "a text", type(None): "null", bool: "true or false"}
    return kinds.get(type(value), "a number")


def _empty(domain: str) -> str:
    return "" if domain.strip() else "a domain needs a name"
