"""Servers that answer as real ones do, and refuse what these refuse.

Each takes the shape of one server's requests and answers, from what its project publishes (see the
modules of the dialects), and decodes with the reference engine on the built-in pair. A field that
the server does not know, or of another type than it takes, is refused as it refuses it.
"""

import json
import re
from dataclasses import replace

import torch

from draftproof.config import RunConfig, Sampling
from draftproof.engines.extra_body import RENDERED, template_arguments
from draftproof.engines.protocol import Generation, Request
from draftproof.engines.reference import ReferenceEngine
from draftproof.shapes import parse_tree
from draftproof.stopping import Stopping

NUMBER, TEXT, LIST, SWITCH = (int, float), (str,), (list,), (bool,)
_COMMON = {
    "model": TEXT, "max_tokens": (int,), "temperature": NUMBER, "top_p": NUMBER, "top_k": (int,),
    "min_p": NUMBER, "seed": (int,), "stream": SWITCH, "stream_options": (dict,),
}  # fmt: skip
_STOPS = {"stop": (list, type(None)), "stop_token_ids": LIST, "ignore_eos": SWITCH}
_FIELDS = {
    "sglang-openai": _COMMON
    | _STOPS
    | {
        "min_tokens": (int,), "repetition_penalty": NUMBER, "no_stop_trim": SWITCH,
        "skip_special_tokens": SWITCH, "return_token_ids": SWITCH, "return_meta_info": SWITCH,
        "logit_bias": (dict,), "chat_template_kwargs": (dict,), "regex": TEXT, "tools": LIST,
        "frequency_penalty": NUMBER,
    },
    "tensorrt-llm": _COMMON
    | _STOPS
    | {
        "min_tokens": (int,), "repetition_penalty": NUMBER, "include_stop_str_in_output": SWITCH,
        "add_special_tokens": SWITCH, "detokenize": SWITCH, "logprobs": (int,),
        "skip_special_tokens": SWITCH, "logit_bias": (dict,),
    },
    "mlx-lm": _COMMON
    | {"logprobs": SWITCH, "top_logprobs": (int,), "draft_model": (str, type(None))}
    | {"num_draft_tokens": (int,), "logit_bias": (dict,), "chat_template_kwargs": (dict,)},
    "lm-studio": _COMMON
    | {"repeat_penalty": NUMBER, "draft_model": TEXT, "logit_bias": (dict,), "stop": LIST},
}  # fmt: skip


class Shape:
    """A server of one kind.

    Args:
        pair: The built-in pair.
        kind: As in ``server=``.
        forgets: Whether its speculation drops ``logit_bias``, ``regex`` and ``frequency_penalty``,
            and plain decoding does not.
        renders: From messages and what else is given to token ids, its chat template.
        drafts: Whether it speculates where a request does not say.
    """

    def __init__(self, pair, kind, *, forgets=False, renders=None, drafts=True):
        self.pair, self.kind, self.forgets, self.drafts = pair, kind, forgets, drafts
        self.renders = renders or (
            lambda messages, given: replace(pair, template_arguments=given).encode_messages(
                messages
            )
        )
        config = RunConfig(check_state=0, tree=parse_tree("chain:3"))
        self.engine = ReferenceEngine(pair, config)

    def __call__(self, path, body):
        if self.kind == "sglang":
            return self.sglang(path, body)
        is_chat = path == "/v1/chat/completions"
        known = {**_FIELDS[self.kind], **({"messages": LIST} if is_chat else {})}
        known |= {} if is_chat else {"prompt": (str,) if self.takes_text else (list,)}
        for name, value in body.items():
            wrong = name in known and (
                not isinstance(value, known[name])
                or (isinstance(value, bool) and bool not in known[name])
            )
            if wrong or (name not in known and self.kind == "tensorrt-llm"):
                return 400
        prompt = self.prompt_of(body)
        generation = self.decoded(prompt, body)
        whole = self.completion(body, prompt, generation, is_chat=is_chat)
        return self.streamed(whole, generation, is_chat=is_chat) if body["stream"] else whole

    @property
    def takes_text(self):
        return self.kind in ("mlx-lm", "lm-studio")

    def prompt_of(self, body):
        if "messages" in body:
            given = template_arguments({k: body[k] for k in RENDERED if k in body})
            return tuple(self.renders(body["messages"], given))
        if self.takes_text:
            ids = self.pair.tokenizer(body["prompt"], add_special_tokens=False)["input_ids"]
            return tuple(ids)
        return tuple(body["prompt"])

    def request(self, prompt, body):
        own = self.pair.stop_token_ids
        named = set(body.get("stop_token_ids") or ())
        if self.kind != "tensorrt-llm":
            stops = own | named if not body.get("ignore_eos") else set()
        else:
            stops = named if body.get("ignore_eos") else own | named
        sampling = Sampling(
            temperature=body.get("temperature", 0),
            min_new_tokens=body.get("min_tokens", 0),
        )
        stopping = Stopping(
            max_new_tokens=body["max_tokens"],
            stop_token_ids=frozenset(stops),
            stop_strings=tuple(body.get("stop") or ()),
            decode=self.pair.decode,
        )
        return Request(
            request_id="",
            prompt_token_ids=prompt,
            sampling=sampling,
            stopping=stopping,
            seed=body.get("seed") or 0,
        )

    def decoded(self, prompt, body):
        speculates = bool(body.get("draft_model", self.drafts))
        is_bound = any(name in body for name in ("logit_bias", "regex", "frequency_penalty"))
        request = self.request(prompt, body)
        if is_bound and not (speculates and self.forgets):
            return bound(self.pair, request, body)
        return self.engine.speculate(request) if speculates else self.engine.plain(request)

    def completion(self, body, prompt, generation, *, is_chat):
        ids = list(generation.token_ids)
        reason = "length" if generation.stop_reason == "length" else "stop"
        said = [token for token in ids if token not in self.pair.stop_token_ids]
        counts = counts_of(generation)
        choice = {"index": 0, "finish_reason": reason, "text": self.pair.decode(ids)}
        whole = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"]}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(ids)}
        if self.kind == "sglang-openai":
            choice["matched_stop"] = ids[-1] if reason == "stop" else None
            choice |= {"token_ids": ids, "prompt_token_ids": list(prompt)}
            if body.get("return_meta_info") and counts:
                choice["meta_info"] = sglang_meta(counts)
        elif self.kind == "tensorrt-llm":
            choice |= {"text": "", "token_ids": ids, "stop_reason": None}
            if counts:
                choice["avg_decoded_tokens_per_iter"] = (len(ids) - 1) / max(counts["steps"], 1)
                choice["speculative_decoding"] = {
                    "acceptance_rate": counts["accepted"] / max(counts["drafted"], 1),
                    "acceptance_histogram": counts["lengths"],
                    "num_spec_steps": counts["drafted_steps"],
                    "total_draft_tokens": counts["drafted"],
                    "total_accepted_draft_tokens": counts["accepted"],
                    "num_spec_tokens": 3,
                }
        elif self.kind == "mlx-lm":
            choice["text"] = self.pair.decode(said)
            if body.get("logprobs"):
                entries = [{"id": token, "logprob": -0.25} for token in ids]
                choice["logprobs"] = {"content": entries}
        else:
            choice |= {"text": self.pair.decode(said), "logprobs": None}
            stats = {
                "stop_reason": "maxPredictedTokensReached" if reason == "length" else "eosFound"
            }
            if counts:
                stats |= {
                    "draft_model": "draft", "total_draft_tokens_count": counts["drafted"],
                    "accepted_draft_tokens_count": counts["accepted"],
                    "rejected_draft_tokens_count": counts["drafted"] - counts["accepted"],
                    "ignored_draft_tokens_count": 0,
                }  # fmt: skip
            whole["stats"] = stats
        if is_chat:
            choice["message"] = {"role": "assistant", "content": choice.pop("text")}
        return {**whole, "choices": [choice], "usage": usage}

    def streamed(self, whole, generation, *, is_chat):
        ids = list(generation.token_ids)
        [choice] = whole["choices"]
        if self.takes_text:
            choice.pop("logprobs", None)
        cuts = [ids[at : at + 3] for at in range(0, len(ids), 3)]
        events, said = [], ""
        for n, part in enumerate(cuts):
            text = self.pair.decode([token for cut in cuts[: n + 1] for token in cut])
            shown = "" if self.kind == "tensorrt-llm" else text[len(said) :]
            is_last = n == len(cuts) - 1
            told = choice if is_last else {"index": 0, "finish_reason": None}
            kept = {key: value for key, value in told.items() if key not in ("text", "message")}
            named = {"delta": {"content": shown}} if is_chat else {"text": shown}
            events.append({"choices": [{**kept, **named, "token_ids": part}]})
            said = text
        events.append({"choices": [], "usage": whole["usage"]})
        return events_reply(events)

    def sglang(self, path, body):
        """Its own ``/generate``, whose pieces hold everything so far."""
        settings = body["sampling_params"]
        if path != "/generate" or not isinstance(settings.get("sampling_seed"), int):
            return 400
        shaped = {
            "max_tokens": settings["max_new_tokens"],
            "temperature": settings["temperature"],
            "min_tokens": settings["min_new_tokens"],
            "stop": settings["stop"],
            "stop_token_ids": settings["stop_token_ids"],
            "ignore_eos": settings["ignore_eos"],
            "seed": settings["sampling_seed"],
        }
        prompt = tuple(body["input_ids"])
        generation = self.decoded(prompt, shaped)
        ids = list(generation.token_ids)
        ended = generation.stop_reason != "length"
        finish = {"type": "stop", "matched": ids[-1]} if ended else {"type": "length"}

        def told(count):
            about = {"prompt_tokens": len(prompt), "completion_tokens": count}
            is_whole = count == len(ids)
            about["finish_reason"] = finish if is_whole else None
            about |= sglang_meta(counts_of(generation)) if is_whole else {}
            text = self.pair.decode(ids[:count])
            return {"text": text, "output_ids": ids[:count], "meta_info": about}

        if not body["stream"]:
            return told(len(ids))
        marks = [*range(2, len(ids), 3), len(ids)]
        return events_reply([told(count) for count in marks])


def counts_of(generation):
    """What a server counts of an output; empty of one that was decoded plainly."""
    steps = generation.steps
    if steps is None or not len(steps["nodes"]) or not steps["nodes"].any():
        return {}
    lengths = steps["accepted_length"][steps["nodes"] > 0].tolist()
    return {
        "steps": len(steps["nodes"]),
        "drafted_steps": len(lengths),
        "drafted": int(steps["nodes"].sum()),
        "accepted": int(steps["accepted_length"].sum()),
        "lengths": [lengths.count(length) for length in range(4)],
    }


def sglang_meta(counts):
    """Its counters of a request, under their present names and those before them."""
    return {
        "spec_verify_ct": counts["steps"],
        "spec_num_proposed_drafts": counts["drafted"],
        "spec_proposed_drafts": counts["drafted"],
        "spec_num_correct_drafts": counts["accepted"],
        "spec_accepted_drafts": counts["accepted"],
    }


def bound(pair, request, body):
    """Greedy plain decoding under a bias, a pattern or a penalty, token by token."""
    model, output, reason = pair.target, (), None
    texts = [pair.decode([token]) for token in range(model.vocabulary_size)]
    model.reset()
    logits = model.advance(request.prompt_token_ids)
    while reason is None:
        row = logits.reshape(-1).clone()
        for token, value in (body.get("logit_bias") or {}).items():
            row[int(token)] += value
        for token in output:
            row[token] -= body.get("frequency_penalty", 0)
        if pattern := body.get("regex"):
            said = pair.decode(output)
            row[[not re.fullmatch(pattern, said + text) for text in texts]] = -torch.inf
        committed, reason = request.stopping.cut(output, (int(row.argmax()),))
        output += committed
        logits = model.advance(committed)
    return Generation(token_ids=output, stop_reason=str(reason), seconds=0.1)


def events_reply(events):
    """Server-sent events, as a reply of the fake server."""

    def stream(handler):
        handler.send_response(200)
        handler.end_headers()
        for event in events:
            handler.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        handler.wfile.write(b"data: [DONE]\n\n")
        handler.close_connection = True

    return stream
