"""How two models' predictions of the same tokens differ.

L tokens, V vocabulary. KL(p || q) is the sum of p (log p - log q), in nats.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Divergence:
    """What has been added up so far, of `count` tokens."""

    count: int = 0
    nll: float = 0.0  # of the engine: -log of the probability of the token that came
    reference_nll: float = 0.0
    agreed: int = 0  # tokens that both think the most probable
    kl: float = 0.0
    max_kl: float = 0.0
    compared: bool = field(default=False)

    def add(self, logits_LV: np.ndarray, next_L: np.ndarray, reference_LV=None) -> None:
        """Rows of logits, each with the token that came next; and those of the reference."""
        log_q_LV = log_softmax(logits_LV)
        places = np.arange(len(next_L))
        self.count += len(next_L)
        self.nll -= float(log_q_LV[places, next_L].sum())
        if reference_LV is None:
            return
        self.compared = True
        log_p_LV = log_softmax(reference_LV)
        self.reference_nll -= float(log_p_LV[places, next_L].sum())
        self.agreed += int((log_p_LV.argmax(axis=1) == log_q_LV.argmax(axis=1)).sum())
        kl_L = (np.exp(log_p_LV) * (log_p_LV - log_q_LV)).sum(axis=1)
        self.kl += float(kl_L.sum())
        self.max_kl = max(self.max_kl, float(kl_L.max()))

    def results(self) -> dict[str, float]:
        """Perplexity, and with a reference: its perplexity, the ratio, KL and agreement."""
        found = {"perplexity": float(np.exp(self.nll / self.count))}
        if self.compared:
            found["reference_perplexity"] = float(np.exp(self.reference_nll / self.count))
            found["ratio"] = float(np.exp((self.nll - self.reference_nll) / self.count))
            found["kl"] = self.kl / self.count
            found["max_kl"] = self.max_kl
            found["agreement"] = self.agreed / self.count
        return found


def log_softmax(logits_LV: np.ndarray) -> np.ndarray:
    """In float64."""
    wide_LV = logits_LV.astype(np.float64)
    wide_LV -= wide_LV.max(axis=1, keepdims=True)
    return wide_LV - np.log(np.exp(wide_LV).sum(axis=1, keepdims=True))
