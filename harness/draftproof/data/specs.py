"""The table of public data sets.

A data set is a list of tables. Each table exists twice with the same rows in the same order: on the
hub, or at the authors' place at a commit, and as a file in a local folder. The ids of the prompts
come from the rows, so they do not depend on which of the two was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from draftproof.data import rows
from draftproof.data.dataset import DatasetSpec, Table
from draftproof.prompt_sources import BBH_DEDUCTIVE, BBH_TASKS, SPEC_BENCH_PARTS, SPEED_BENCH_PARTS

_RAW = "https://raw.githubusercontent.com"
_FAST_CHAT = f"{_RAW}/lm-sys/FastChat/0e6d3e4beaab66f4d3f93db72541a4abab8af28d"
_FOLIO = f"{_RAW}/Yale-LILY/FOLIO/5d7bb84c7edab3fb358e057d2807f19cf5cf5e2d"
_SPEC_BENCH = f"{_RAW}/hemingkx/Spec-Bench/fd2c1cd7d2201ef71db4c5f4e455008f017967bf"


def _domains(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(rows.domain_of(part) for part in parts)


_ALL: tuple[DatasetSpec, ...] = (
    DatasetSpec(
        name="humaneval",
        title="HumanEval",
        domains=("code",),
        licence="MIT",
        hub_id="openai/openai_humaneval",
        revision="7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
        split="test",
        columns=("task_id", "prompt", "entry_point", "canonical_solution", "test"),
        tables=(
            Table(
                hub_name="openai_humaneval",
                local_path="humaneval/HumanEval.jsonl.gz",
                id_prefix="HumanEval",
            ),
        ),
        to_prompt=rows.human_eval,
    ),
    DatasetSpec(
        name="gsm8k",
        title="GSM8K",
        domains=("math",),
        licence="MIT",
        hub_id="openai/gsm8k",
        revision="e53f048856ff4f594e959d75785d2c2d37b678ee",
        split="test",
        columns=("question", "answer"),
        tables=(Table(hub_name="main", local_path="gsm8k/test.jsonl", id_prefix="gsm8k/test"),),
        to_prompt=rows.gsm8k,
    ),
    DatasetSpec(
        name="bbh",
        title="BIG-Bench Hard",
        domains=("logic",),
        licence="MIT",
        hub_id="SaylorTwift/bbh",
        revision="b5306be6f827cfafbb545ff5a51f96916029b0fd",
        split="test",
        columns=("input", "target"),
        # The task is always named: the hub's default configuration is another task.
        tables=tuple(
            Table(hub_name=task, local_path=f"bbh/{task}.json", id_prefix=f"bbh/{task}", part=task)
            for task in BBH_TASKS
        ),
        to_prompt=rows.bbh,
        default_parts=BBH_DEDUCTIVE,
        local_field="examples",
    ),
    DatasetSpec(
        name="mt_bench",
        title="MT-Bench",
        domains=("chat",),
        licence="Apache-2.0",
        split="test",
        columns=("question_id", "turns"),
        tables=(
            Table(
                local_path="mt_bench/question.jsonl",
                id_prefix="mt_bench",
                url=f"{_FAST_CHAT}/fastchat/llm_judge/data/mt_bench/question.jsonl",
                sha256="119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
            ),
        ),
        to_prompt=rows.mt_bench,
        turns=rows.turns,
    ),
    DatasetSpec(
        name="folio",
        title="FOLIO v0",
        domains=("logic",),
        licence="CC BY-SA 4.0",
        split="validation",
        columns=("premises", "conclusion", "label"),
        tables=(
            Table(
                local_path="folio/folio-validation.jsonl",
                id_prefix="folio/v0",
                url=f"{_FOLIO}/data/v0.0/folio-validation.jsonl",
                sha256="6922c988ef10987bd6545568ee8e63e897af80994591fa20539767da58f8e3d1",
            ),
        ),
        to_prompt=rows.folio,
    ),
    DatasetSpec(
        name="folio_v2",
        title="FOLIO v2",
        domains=("logic",),
        licence="CC BY-SA 4.0",
        hub_id="tasksource/folio",
        revision="295b95fb4fe9be4ff3f933b73142d142cf6b2c97",
        split="validation",
        columns=("premises", "conclusion", "label"),
        tables=(Table(local_path="folio/folio_v2_validation.jsonl", id_prefix="folio/v2"),),
        to_prompt=rows.folio,
    ),
    DatasetSpec(
        name="vicuna",
        title="Vicuna-80",
        domains=("chat",),
        licence="Apache-2.0",
        split="test",
        columns=("question_id", "turns"),
        tables=(
            Table(
                local_path="vicuna_bench/question.jsonl",
                id_prefix="vicuna",
                url=f"{_FAST_CHAT}/fastchat/llm_judge/data/vicuna_bench/question.jsonl",
                sha256="c248c5c98ba45bb0c2aadae2f270e643bd32679c6c306a3b2a503ac4254cdaa5",
            ),
        ),
        to_prompt=rows.vicuna,
        turns=rows.turns,
    ),
    DatasetSpec(
        name="spec_bench",
        title="Spec-Bench",
        domains=_domains(SPEC_BENCH_PARTS),
        licence="Apache-2.0 (holds texts of others)",
        split="test",
        columns=("question_id", "category", "turns"),
        tables=(
            Table(
                local_path="spec_bench/question.jsonl",
                id_prefix="spec_bench",
                url=f"{_SPEC_BENCH}/data/spec_bench/question.jsonl",
                sha256="4b6d33e79484f9841c487ee87d1cf6aa8c6066f61d5d482ff09e5a007fafdf04",
            ),
        ),
        to_prompt=rows.spec_bench,
        turns=rows.turns,
        part_of=rows.spec_bench_part,
    ),
    DatasetSpec(
        name="speed_bench",
        title="SPEED-Bench (qualitative)",
        domains=_domains(SPEED_BENCH_PARTS),
        licence="NVIDIA Evaluation Dataset License",
        split="test",
        columns=("question_id", "category", "turns"),
        tables=(Table(local_path="speed_bench/test.parquet", id_prefix="speed_bench"),),
        to_prompt=rows.speed_bench,
        turns=rows.speed_bench_turns,
        part_of=rows.speed_bench_part,
        obtain="the file that prepare_data.py of NVIDIA's specdec_bench writes",
    ),
)

DATASETS: Mapping[str, DatasetSpec] = MappingProxyType({spec.name: spec for spec in _ALL})
"""Every public data set, by its name in ``--spec-prompts``."""
