"""A runtime in miniature for the paged graph: pages handed out at random, dirty, and given back.

T tokens, S sequences, M pages per sequence, P pages, W tokens per page.
"""

from __future__ import annotations

import json

import numpy as np

NOTHING = np.float32(np.nan)  # what a page holds that nobody may see


class Pool:
    """Sequences that step through `session`, the paged graph of `model`."""

    def __init__(self, model, session, sequences, pages=64, longest=16, seed=0):
        self.session, self.sequences, self.longest = session, sequences, longest
        self.groups = json.loads(model.metadata_props["ingot.cache_groups"])
        self.rng = np.random.default_rng(seed)
        self.caches = {
            value.name: np.full([pages, *value.shape[1:]], NOTHING, value.dtype.numpy())
            for value in model.graph.inputs
            if value.name.startswith("cache_")
        }
        self.free = [list(self.rng.permutation(np.arange(1, pages))) for _ in self.groups]
        self.tables = [[[] for _ in sequences] for _ in self.groups]
        self.done = [0] * len(sequences)
        self.logits = [{} for _ in sequences]

    def share(self, whose: int, by: int, pages: int) -> None:
        """Sequence `by` starts with the first pages of sequence `whose`, in every group."""
        for table in self.tables:
            table[by] = list(table[whose][:pages])
        self.done[by] = pages * self.groups[0]["page_tokens"]

    def step(self, *parts: tuple[int, int], padding: int = 0) -> None:
        """Each (sequence, tokens) of one step, in order; then padding of the null page."""
        fields = {"ids_T": [], "positions_T": [], "sequences_T": []}
        cells = [[] for _ in self.groups]
        for sequence, tokens in parts:
            for position in range(self.done[sequence], self.done[sequence] + tokens):
                fields["ids_T"].append(self.sequences[sequence][position])
                fields["positions_T"].append(position)
                fields["sequences_T"].append(sequence)
                for group, own in enumerate(cells):
                    own.append(self.cell(group, sequence, position))
            self.done[sequence] += tokens
        T = len(fields["ids_T"])
        fields = {name: values + [0] * padding for name, values in fields.items()}
        fields["rows_N"] = list(range(T))
        for group, own in enumerate(cells):
            fields[f"cells{group}_T"] = own + [0] * padding
            rows = [t + [0] * (self.longest - len(t)) for t in self.tables[group]]
            fields[f"pages{group}_SM"] = rows
        arrays = {name: np.array(values, np.int32) for name, values in fields.items()}
        names = [output.name for output in self.session.get_outputs()]
        given = dict(zip(names, self.session.run(None, arrays | self.caches), strict=True))
        self.caches = {name: given["new_" + name.removeprefix("cache_")] for name in self.caches}
        for row in range(T):
            sequence, position = fields["sequences_T"][row], fields["positions_T"][row]
            self.logits[sequence][position] = given["logits_NV"][row]
        self.leave_windows()

    def cell(self, group: int, sequence: int, position: int) -> int:
        size = self.groups[group]["page_tokens"]
        table = self.tables[group][sequence]
        while len(table) <= position // size:
            table.append(self.free[group].pop())
        return table[position // size] * size + position % size

    def leave_windows(self) -> None:
        """Pages that no token to come can see are page 0 in the table, spoilt, and free again."""
        for group, facts in enumerate(self.groups):
            if not facts["window"]:
                continue
            for sequence, table in enumerate(self.tables[group]):
                seen = self.done[sequence] - facts["window"] + 1
                for index in range(len(table)):
                    if (index + 1) * facts["page_tokens"] <= seen and table[index]:
                        self.spoil(group, table[index])
                        table[index] = 0

    def spoil(self, group: int, page: int) -> None:
        shared = sum(page in table for table in self.tables[group])
        if shared > 1:
            return
        for name in self.groups[group]["tensors"]:
            self.caches[name][page] = NOTHING
        self.free[group].insert(0, page)
