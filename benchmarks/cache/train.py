"""Trains the pair score's prior on the project's own corpus, and says how well it does.

    python -m benchmarks.cache.train [--out proxy/semantic/data/prior.npz] [--seed 1]

Wants torch (`pip install torch`) beside the extra `[semantic]`; the gateway never does. The corpus
is cut into five folds by the groups' ids. The scores of each fold come from weights that never saw
it; the scale to a probability and the thresholds are from those. The shipped weights are then
trained on all of it. Both sides of a pair get the same noise of style (politeness, typing errors,
missing punctuation), for rephrasings and traps alike, so that style says nothing.
"""

import argparse
import asyncio
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize, relu

from benchmarks.cache import corpus
from benchmarks.cache.corpus import FOLDS, Group
from proxy.semantic.embedders.minilm import MiniLm
from proxy.semantic.guards import DOUBTS, doubts, read, veto
from proxy.semantic.meaning import Meaning
from proxy.semantic.pairs import FILE, TOKENS, Weights

WIDTH, PROJECTED, HIDDEN, GIST, JUDGE = 384, 64, 64, 32, 64
EPOCHS, BATCH, RATE, DECAY = 3, 256, 2e-3, 0.1
SMOOTHING = 0.02
MOST_WRONG = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Shares of wrong answers that a threshold is shipped for."""
RESERVE = 1.0
"""Of each, what the corpus may use up: the questions of others are not like those we thought of."""

BEFORE = ("please ", "could you tell me ", "hi, ", "hey ", "quick question: ", "i'd like to know: ")
AFTER = (" thanks", " please", " thank you!", " pls", " thx", " thanks in advance.")


class Example(NamedTuple):
    left: str
    right: str
    serves: bool
    kind: str
    first: bool
    group: Group
    styled: bool = False


def mistyped(text: str, chance: random.Random) -> str:
    """One letter of a longer word is lost, or changes places with the next."""
    words = list(re.finditer(r"\b[a-z]{6,}\b", text))
    if not words:
        return text
    word = chance.choice(words)
    at = chance.randrange(word.start() + 1, word.end() - 2)
    if chance.random() < 0.5:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :]


def styled(text: str, chance: random.Random) -> str:
    """The same, as somebody else would type it."""
    draw = chance.random()
    if draw < 0.35:
        text = chance.choice(BEFORE) + text[0].lower() + text[1:]
    if 0.25 < draw < 0.6:
        text = text.rstrip(".?!") + chance.choice(AFTER)
    if draw > 0.5:
        text = mistyped(text, chance)
    return text.rstrip(".?! ") if draw > 0.8 else text


def examples(group: Group) -> Iterator[Example]:
    """The group's pairs, and some more whose style is noisy."""
    for pair in corpus.pairs(group):
        yield Example(pair.left, pair.right, pair.right_to_serve, pair.kind, pair.first, group)
    chance = random.Random(group.id)
    meant = (group.question, *group.same)
    noisy = (styled(group.question, chance), styled(chance.choice(group.same), chance))
    for text, others in zip(noisy, (meant, chance.sample(meant, 2)), strict=True):
        for other in others:
            yield Example(text, other, True, "same", False, group, True)
    for trap in group.near:
        yield Example(noisy[0], trap.text, False, trap.kind, False, group, True)
    for trap in chance.sample(group.near, 2):
        text = styled(trap.text, chance)
        yield Example(text, trap.text, True, "same", False, group, True)
        for other in (group.question, chance.choice(group.same)):
            yield Example(text, other, False, trap.kind, False, group, True)


class Side(NamedTuple):
    states: torch.Tensor  # [batch, tokens, width]
    mask: torch.Tensor
    pieces: torch.Tensor
    vector: torch.Tensor


class PairScore(nn.Module):
    """`proxy.semantic.pairs`, in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(WIDTH, PROJECTED)
        self.sharpness = nn.Parameter(torch.tensor(8.0))
        self.compare = nn.Linear(4 * PROJECTED + 2, HIDDEN)
        self.compare_more = nn.Linear(HIDDEN, HIDDEN)
        self.gist = nn.Linear(WIDTH, GIST)
        self.judge = nn.Linear(4 * HIDDEN + 2 * GIST + 4 + len(DOUBTS), JUDGE)
        self.verdict = nn.Linear(JUDGE, 1)
        self.inner, self.outer = nn.Dropout(0.15), nn.Dropout(0.25)

    def forward(self, new: Side, old: Side, doubted: torch.Tensor) -> torch.Tensor:
        """Logits [batch]."""
        a, b = self.project(new.states), self.project(old.states)
        likeness = normalize(a, dim=-1) @ normalize(b, dim=-1).transpose(1, 2)
        same = new.pieces[:, :, None] == old.pieces[:, None, :]
        one, low, mean = self.compared(a, b, likeness, same, new.mask, old.mask)
        turned = likeness.transpose(1, 2), same.transpose(1, 2)
        other, low_other, mean_other = self.compared(b, a, *turned, old.mask, new.mask)
        gist, gist_other = self.gist(new.vector * 8), self.gist(old.vector * 8)
        lengths = (new.mask.sum(1) - old.mask.sum(1)).abs() / 10
        cosine = (new.vector * old.vector).sum(-1)
        plain = (cosine, torch.minimum(low, low_other), (mean + mean_other) / 2, lengths)
        features = torch.cat(
            [
                one + other,
                (one - other).abs(),
                (gist - gist_other).abs(),
                gist * gist_other,
                torch.stack(plain, -1),
                doubted,
            ],
            -1,
        )
        return self.verdict(self.outer(relu(self.judge(features))))[:, 0]

    def compared(
        self,
        tokens: torch.Tensor,
        others: torch.Tensor,
        likeness: torch.Tensor,
        same: torch.Tensor,
        mask: torch.Tensor,
        other_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        likeness = likeness.masked_fill(~other_mask[:, None, :], -9.0)
        best = likeness.max(-1).values
        found = (likeness * self.sharpness).softmax(-1) @ others
        equal = (same & other_mask[:, None, :]).any(-1).float()
        told = [tokens, found, (tokens - found).abs(), tokens * found]
        told += [best[..., None], equal[..., None]]
        inner = relu(self.compare(self.inner(torch.cat(told, -1))))
        inner = relu(self.compare_more(inner)) * mask[..., None]
        count = mask.sum(1, keepdim=True).clamp(min=1)
        pooled = torch.cat([inner.max(1).values, inner.sum(1) / count], -1)
        return (
            pooled,
            best.masked_fill(~mask, 1.0).min(1).values,
            (best * mask).sum(1) / count[:, 0],
        )


class Data:
    """Examples as numbers."""

    def __init__(self, given: Sequence[Example], meanings: dict[str, Meaning]) -> None:
        self.examples = given
        names = sorted({text for example in given for text in (example.left, example.right)})
        at = {text: number for number, text in enumerate(names)}
        self.states = [torch.from_numpy(meanings[text].states[:TOKENS].copy()) for text in names]
        self.pieces = [torch.tensor(meanings[text].pieces[:TOKENS]) for text in names]
        self.vectors = torch.from_numpy(np.stack([meanings[text].vector for text in names]))
        self.lengths = np.array([len(states) for states in self.states])
        self.left = np.array([at[example.left] for example in given])
        self.right = np.array([at[example.right] for example in given])
        self.serves = np.array([example.serves for example in given], np.float32)
        self.fold = np.array([example.group.fold for example in given])
        readings = {text: read(text) for text in names}
        ways = [(readings[e.left], readings[e.right]) for e in given]
        self.doubts = torch.tensor([doubts(new, old) for new, old in ways])
        self.turned = torch.tensor([doubts(old, new) for new, old in ways])
        self.vetoed = np.array([veto(new, old) is not None for new, old in ways])
        self.longest = np.maximum(self.lengths[self.left], self.lengths[self.right])

    def side(self, texts: np.ndarray) -> Side:
        most = int(self.lengths[texts].max())
        states = torch.zeros(len(texts), most, WIDTH)
        mask = torch.zeros(len(texts), most, dtype=torch.bool)
        pieces = torch.zeros(len(texts), most, dtype=torch.long)
        for row, text in enumerate(texts):
            length = self.lengths[text]
            states[row, :length] = self.states[text]
            mask[row, :length] = True
            pieces[row, :length] = self.pieces[text]
        return Side(states, mask, pieces, self.vectors[texts])

    def logits(self, model: PairScore, chosen: np.ndarray, turned: bool = False) -> torch.Tensor:
        left, right = self.side(self.left[chosen]), self.side(self.right[chosen])
        if turned:
            return model(right, left, self.turned[chosen])
        return model(left, right, self.doubts[chosen])


def fit(data: Data, chosen: np.ndarray, seed: int) -> PairScore:
    """Trains on the chosen examples."""
    torch.manual_seed(seed)
    chance = np.random.RandomState(seed)
    model = PairScore()
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    steps = len(chosen) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps * EPOCHS + 1)
    for epoch in range(EPOCHS):
        model.train()
        total = 0.0
        for batch in batches(data, chosen, chance)[:steps]:
            wanted = torch.from_numpy(data.serves[batch])
            logits = data.logits(model, batch, chance.rand() < 0.5)
            soft = wanted * (1 - 2 * SMOOTHING) + SMOOTHING
            loss = binary_cross_entropy_with_logits(logits, soft)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"  epoch {epoch + 1}: loss {total / steps:.4f}", flush=True)
    model.eval()
    return model


def batches(data: Data, chosen: np.ndarray, chance: np.random.RandomState) -> list[np.ndarray]:
    """Of examples alike in length, in no order: padding costs as much as text does."""
    shuffled = chosen[chance.permutation(len(chosen))]
    found = []
    for begin in range(0, len(shuffled), BATCH * 20):
        window = shuffled[begin : begin + BATCH * 20]
        window = window[np.argsort(data.longest[window] + 3 * chance.rand(len(window)))]
        found += [window[at : at + BATCH] for at in range(0, len(window) - BATCH + 1, BATCH)]
    chance.shuffle(found)
    return found


def predict(data: Data, model: PairScore, chosen: np.ndarray) -> np.ndarray:
    scores = np.zeros(len(chosen), np.float32)
    order = np.argsort(data.longest[chosen])
    with torch.no_grad():
        for begin in range(0, len(chosen), 1024):
            some = order[begin : begin + 1024]
            scores[some] = data.logits(model, chosen[some]).numpy()
    return scores


def scaled(logits: np.ndarray, serves: np.ndarray) -> tuple[float, float]:
    """Platt's scale and shift, by Newton's method."""
    scale, shift = 1.0, 0.0
    for _ in range(50):
        p = 1 / (1 + np.exp(-(scale * logits + shift)))
        weight = p * (1 - p) + 1e-9
        slope = np.array([((p - serves) * logits).sum(), (p - serves).sum()])
        curve = np.array(
            [
                [(weight * logits**2).sum(), (weight * logits).sum()],
                [(weight * logits).sum(), weight.sum()],
            ]
        )
        step = np.linalg.solve(curve, slope)
        scale, shift = scale - step[0], shift - step[1]
        if np.abs(step).max() < 1e-9:
            break
    return float(scale), float(shift)


def least_scores(scores: np.ndarray, serves: np.ndarray) -> list[tuple[float, float]]:
    """For each share of `MOST_WRONG` the least score from which P(wrong | served) and the share of
    traps served are both under it, where rephrasings and traps are as many."""
    order = np.argsort(-scores)
    right, wrong = serves[order] == 1, serves[order] == 0
    hits = right.cumsum() / max(1, right.sum())
    traps = wrong.cumsum() / max(1, wrong.sum())
    served = np.maximum(traps / np.maximum(hits + traps, 1e-9), traps)
    found = []
    for most in MOST_WRONG:
        allowed = np.nonzero(served <= RESERVE * most)[0]
        found.append((most, float(scores[order][allowed[-1]]) if len(allowed) else 1.0))
    return found


def table(name: str, scores: np.ndarray, serves: np.ndarray) -> None:
    """Of the rephrasings the share served, where so many of the traps are."""
    right, wrong = scores[serves == 1], np.sort(scores[serves == 0])[::-1]
    shares = [
        f"{share:.1%}: {(right > wrong[int(len(wrong) * share)]).mean():.3f}"
        for share in (0.005, 0.01, 0.02, 0.05, 0.1)
    ]
    print(
        f"{name:24s} {len(right):6d} right {len(wrong):6d} traps   {'   '.join(shares)}", flush=True
    )


def save(
    path: Path, model: PairScore, scale: tuple[float, float], least: list[tuple[float, float]]
) -> None:
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    values: dict[str, np.ndarray] = {"sharpness": np.float16(state["sharpness"])}
    for name in ("project", "compare", "compare_more", "gist", "judge"):
        values[name] = state[f"{name}.weight"].T.astype(np.float16)
        values[f"{name}_bias"] = state[f"{name}.bias"].astype(np.float16)
    values["verdict"] = state["verdict.weight"][0].astype(np.float16)
    values["verdict_bias"] = np.float32(state["verdict.bias"][0])
    values["scale"], values["shift"] = np.float32(scale[0]), np.float32(scale[1])
    assert values.keys() == set(Weights._fields)
    extra = {"thresholds": np.array(least, np.float32), "embedder": np.array("all-MiniLM-L6-v2")}
    np.savez_compressed(path, **values, **extra)


async def embedded(texts: Sequence[str]) -> dict[str, Meaning]:
    embedder = MiniLm(timeout=60.0)
    found: dict[str, Meaning] = {}
    for begin in range(0, len(texts), 64):
        some = texts[begin : begin + 64]
        found.update(zip(some, await embedder.embed(some), strict=True))
    await embedder.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--folds", type=int, default=FOLDS, help="how many are tested: a fifth of the corpus each"
    )
    given = parser.parse_args()
    groups = corpus.read()
    found = [example for group in groups for example in examples(group)]
    texts = sorted({text for example in found for text in (example.left, example.right)})
    print(f"corpus {corpus.digest()[:16]}: {len(groups)} groups, {len(found)} examples", flush=True)
    data = Data(found, asyncio.run(embedded(texts)))
    plain = np.array([not example.styled for example in found])
    first = np.array([example.first for example in found])
    close = np.array([example.group.id.startswith("close") for example in found])
    tested, logits = [], []
    for fold in range(given.folds):
        print(f"fold {fold}", flush=True)
        model = fit(data, np.nonzero(data.fold != fold)[0], given.seed)
        chosen = np.nonzero((data.fold == fold) & plain)[0]
        tested.append(chosen)
        logits.append(predict(data, model, chosen))
    at, logit = np.concatenate(tested), np.concatenate(logits)
    serves = data.serves[at]
    main_pairs = first[at]
    scale = scaled(logit[main_pairs], serves[main_pairs])
    scores = 1 / (1 + np.exp(-(scale[0] * logit + scale[1])))
    cosine = (data.vectors[data.left[at]] * data.vectors[data.right[at]]).sum(-1).numpy()
    served = np.where(data.vetoed[at], -1.0, scores)
    for name, chosen in (
        ("question", main_pairs),
        ("all pairs", plain[at]),
        ("close questions", main_pairs & close[at]),
    ):
        table(f"cosine, {name}", cosine[chosen], serves[chosen])
        table(f"score, {name}", scores[chosen], serves[chosen])
        table(f"guarded, {name}", served[chosen], serves[chosen])
    least = least_scores(served[main_pairs], serves[main_pairs])
    print("thresholds", least, flush=True)
    np.savez_compressed(
        given.out.with_suffix(".cv.npz"), at=at, scores=scores, served=served, cosine=cosine
    ) if given.out != FILE else None
    print("all", flush=True)
    save(given.out, fit(data, np.arange(len(found)), given.seed), scale, least)


if __name__ == "__main__":
    main()
