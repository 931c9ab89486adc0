"""Scores a completion of a function by running the data set's own test of it."""

from __future__ import annotations

import ast
import re
import warnings

from draftproof.scoring.fences import before_fence, fenced_blocks, lines_of_statements
from draftproof.scoring.sandbox import Ended, Limits, run_python

_FUNCTION = re.compile(r"^(?:async\s+)?def\s+(\w+)", re.M)


def score_code(output: str, *, prompt: str, answer: str, limits: Limits | None = None) -> float:
    """1 if the program that an output completes passes its test in the sandbox, else 0.

    Args:
        output: What the model wrote.
        prompt: The head and docstring that it was given.
        answer: A program that ends without an error if the function is right.
        limits: What the program may use.

    Raises:
        DraftproofError: No sandbox can be made here.
    """
    return float(run_completion(output, prompt=prompt, answer=answer, limits=limits).passed)


def run_completion(output: str, *, prompt: str, answer: str, limits: Limits | None = None) -> Ended:
    """How the test of a completion ended; see `score_code`."""
    program = future_first(f"{completed(output, prompt)}\n\n{answer}\n")
    return run_python(program, limits)


def completed(output: str, prompt: str) -> str:
    r"""The program that an output makes of a prompt.

    - If the output begins with code and not with words, its code ends at the first fence.
    - If it has fenced blocks, its code is the first that defines the prompt's last function, else
      the first block; text around it is left out.
    - If the code defines that function, it follows the prompt, whose imports and helpers it may
      need and whose unfinished function it replaces.
    - Otherwise it continues the prompt, up to its first statement that is not indented: there a
      base model has begun something else. Where such a body does not parse behind the prompt and
      is not indented itself, it is indented.

    Example:
        >>> head = 'def one():\n    "The number one."\n'
        >>> print(completed("    return 1\n\nprint(one())", head))
        def one():
            "The number one."
            return 1
    """
    names = _FUNCTION.findall(prompt)
    name = names[-1] if names else ""
    begun = before_fence(output, prompt)
    blocks = [] if _begins_with_code(begun, prompt, name) else fenced_blocks(output)
    code = next((block for block in blocks if _defines(block, name)), None)
    if code is None:
        code = blocks[0] if blocks else begun
    if _defines(code, name):
        return f"{prompt}\n    pass\n\n\n{code}" if _parses(f"{prompt}\n    pass\n") else code
    body = _body(code, prompt)
    if blocks and not _parses(prompt + body):
        indented = "\n".join(f"    {line}" if line.strip() else line for line in code.splitlines())
        if _parses(prompt + "\n" + indented):
            return prompt + "\n" + indented
    return (prompt + body).rstrip()


def future_first(program: str) -> str:
    r"""A program with its ``from __future__`` lines where Python takes them: before all others.

    A model that writes a file of its own begins it with them; what it was given stands before that.

    Example:
        >>> print(future_first("x = 1\nfrom __future__ import annotations\ny: No = 2"))
        from __future__ import annotations
        x = 1
        pass
        y: No = 2
    """
    if "__future__" not in program:
        return program
    try:
        with warnings.catch_warnings(action="ignore"):
            body = ast.parse(program).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return program
    lines = program.encode().split(b"\n")
    moved = []
    for found in body:
        if isinstance(found, ast.ImportFrom) and found.module == "__future__":
            first, last = found.lineno - 1, (found.end_lineno or found.lineno) - 1
            end = lines[last][found.end_col_offset or 0 :]
            lines[first : last + 1] = [
                lines[first][: found.col_offset] + b"pass" + end,
                *[b""] * (last - first),
            ]
            moved.append(ast.unparse(found).encode())
    return b"\n".join([*moved, *lines]).decode()


def _body(code: str, prompt: str) -> str:
    """Code up to its first statement in column 0, on the prompt's own line aside."""
    program = prompt + code
    for start in lines_of_statements(program):
        if start > len(prompt) and start < len(program) and not program[start].isspace():
            return program[len(prompt) : start - 1]
    return code


def _begins_with_code(text: str, prompt: str, name: str) -> bool:
    if _defines(text, name):
        return _parses(text)
    lines = [line for line in text.split("\n") if line.strip()]
    is_comment = all(line.lstrip().startswith("#") for line in lines)
    is_indented = bool(lines) and lines[0][0].isspace()
    return is_indented and not is_comment and _parses(prompt + _body(text, prompt))


def _defines(code: str, name: str) -> bool:
    return bool(name) and name in _FUNCTION.findall(code)


def _parses(program: str) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(program, "program.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
