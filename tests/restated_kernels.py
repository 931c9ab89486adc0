"""Functions of GPU libraries restated by their signatures in plain torch, to try adapters on a CPU.

Written from the documented arguments and results alone: what each must do, not how it is done.
"""

import torch


def pick(weights, uniform):
    """The first id whose cumulative weight exceeds the uniform's share of all."""
    sums = weights.double().cumsum(-1)
    return int((sums <= uniform * sums[-1]).sum().clamp_max((weights > 0).nonzero().max()))


class Flashinfer:
    """`flashinfer.sampling.chain_speculative_sampling`."""

    residual = staticmethod(lambda p, q: (p - q).clamp_min(0))

    def chain_speculative_sampling(
        self,
        draft_probs,
        draft_token_ids,
        target_probs,
        maybe_output_accepted_token_num=None,
        maybe_output_emitted_draft_token_num=None,
        deterministic=True,
        generator=None,
        seed=None,
        offset=None,
    ):
        assert draft_token_ids.dtype == torch.int32
        rows, places = draft_token_ids.shape
        assert target_probs.shape[1] == places + 1
        coins = torch.rand((rows, places + 1), generator=generator)
        out = torch.full((rows, places + 1), -1, dtype=torch.int32)
        accepted = torch.zeros(rows, dtype=torch.int32)
        emitted = torch.zeros(rows, dtype=torch.int32)
        for row in range(rows):
            for place, token in enumerate(draft_token_ids[row].tolist()):
                p, q = target_probs[row, place], draft_probs[row, place]
                if not float(coins[row, place] * q[token]) < float(p[token]):
                    left = self.residual(p, q)
                    out[row, place] = pick(left if left.any() else p, float(coins[row, places]))
                    break
                out[row, place] = token
                accepted[row], emitted[row] = accepted[row] + 1, emitted[row] + 1
            else:
                out[row, places] = pick(target_probs[row, places], float(coins[row, places]))
        return out, accepted, emitted


class SglKernel:
    """`sgl_kernel.tree_speculative_sampling_target_only`: results are written to its arguments.

    One uniform decides among all children of a node: the first child whose probability, with those
    of the children before it, exceeds it.
    """

    forgets = False

    def tree_speculative_sampling_target_only(
        self,
        predicts,
        accept_index,
        accept_token_num,
        candidates,
        retrive_index,
        retrive_next_token,
        retrive_next_sibling,
        uniform_samples,
        uniform_samples_for_final_sampling,
        target_probs,
        draft_probs,
        threshold_single=1.0,
        threshold_acc=1.0,
        deterministic=True,
    ):
        assert predicts.dtype == accept_index.dtype == accept_token_num.dtype == torch.int32
        assert candidates.dtype == retrive_index.dtype == torch.int64
        for row in range(len(candidates)):
            at, count = 0, 0
            accept_index[row, 0] = retrive_index[row, 0]
            while True:
                coin, below, child = uniform_samples[row, at], 0.0, int(retrive_next_token[row, at])
                rejected = []
                while child >= 0:
                    token = int(candidates[row, child])
                    below += float(target_probs[row, at, token])
                    if float(coin) < below / threshold_acc or below >= threshold_single:
                        break
                    rejected.append(token)
                    child = int(retrive_next_sibling[row, child])
                if child < 0:
                    break
                predicts[retrive_index[row, at]] = candidates[row, child]
                at, count = child, count + 1
                accept_index[row, count] = retrive_index[row, at]
            weights = target_probs[row, at].clone()
            if not self.forgets:
                weights[rejected] = 0
            accept_token_num[row] = count
            predicts[retrive_index[row, at]] = pick(
                weights if weights.any() else target_probs[row, at],
                float(uniform_samples_for_final_sampling[row]),
            )

    def verify_tree_greedy(
        self,
        predicts,
        accept_index,
        accept_token_num,
        candidates,
        retrive_index,
        retrive_next_token,
        retrive_next_sibling,
        target_predict,
    ):
        for row in range(len(candidates)):
            at, count = 0, 0
            accept_index[row, 0] = retrive_index[row, 0]
            while True:
                best = target_predict[row, at]
                predicts[retrive_index[row, at]] = best
                child = int(retrive_next_token[row, at])
                while child >= 0 and candidates[row, child] != best:
                    child = int(retrive_next_sibling[row, child])
                if child < 0:
                    break
                at, count = child, count + 1
                accept_index[row, count] = retrive_index[row, at]
            accept_token_num[row] = count
