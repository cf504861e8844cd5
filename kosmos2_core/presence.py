"""Presence: the evidence that a phrase is in the image, and the probability that follows from it.

There are three kinds of evidence. Each is a number that is higher for things that are in the image:

- `object`: the log-odds of `<object>` after `</phrase>`. A model that was trained with absent phrases says so
  with it. The public checkpoint was not: it gives almost every marked phrase a box.
- `question`: the log-odds of "yes" against "no" after a question such as `Is there a red mug in the image?`.
- `phrase`: the log-probability of the phrase's tokens with the image minus that without it, per token.

Without a calibration of them, presence is the probability of `<object>`. With one, it is a logistic
combination (`PresenceWeights`), which `kosmos2 calibrate --evidence` fits.

All evidence is computed in one batch with the search for boxes. The question shares the image's tokens with
the phrase, and the phrase without the image is a blind prompt in the same sequence. So an image with one
phrase costs about as many tokens more as the question and the phrase have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kosmos2_core.command_parser import indefinite
from kosmos2_core.errors import ModelError
from kosmos2_core.grounded_text import GroundedText, write_markdown
from kosmos2_core.model import Kosmos2
from kosmos2_core.packing import LAST, PackedPrompts
from kosmos2_core.prompts import IMAGE, Prompt, prompt_ids
from kosmos2_core.requests import Ask
from kosmos2_core.tokenizer import ControlIds, Tokenizer

OBJECT, QUESTION, PHRASE = EVIDENCE_KINDS = ("object", "question", "phrase")
EXISTENCE_QUESTION = "Is there {} in the image?"  # fits the public checkpoint
ANSWERS = (("yes", "Yes"), ("no", "No"))
MAX_VALUE = 20.0  # larger values of evidence count as this one: one that is far off must not decide alone


@dataclass(frozen=True)
class EvidenceOptions:
    """Options of the evidence that is computed for the presence of phrases.

    Args:
        kinds: Some of EVIDENCE_KINDS.
        question: The existence question; `{}` stands for the phrase with an indefinite article.
    """

    kinds: tuple[str, ...] = (OBJECT,)
    question: str = EXISTENCE_QUESTION


@dataclass(frozen=True)
class PresenceWeights:
    """A logistic combination of kinds of evidence, fitted to data.

    Args:
        weights: The weight of each kind of evidence that is used.
        bias: Added to the weighted sum.
        question: The existence question, see EvidenceOptions.
    """

    weights: Mapping[str, float]
    bias: float
    question: str = EXISTENCE_QUESTION

    @property
    def options(self) -> EvidenceOptions:
        """The evidence that the combination needs."""
        return EvidenceOptions(tuple(self.weights), self.question)

    def presence(self, values: Mapping[str, float]) -> float:
        """Return the probability that a phrase with these values of evidence is in the image."""
        return sigmoid(
            self.bias + sum(weight * clipped(values.get(kind, 0.0)) for kind, weight in self.weights.items())
        )


def clipped(value: float) -> float:
    """Return the value of evidence within MAX_VALUE to both sides."""
    return min(max(value, -MAX_VALUE), MAX_VALUE)


def sigmoid(odds: float) -> float:
    """Return the probability with these log-odds."""
    return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0


def existence_question(wording: str, phrase: str) -> str:
    """Return the question whether a phrase is in the image: `Is there a red mug in the image?`

    The phrase gets an indefinite article, since "the red mug" would take for granted what is asked.
    """
    return wording.replace("{}", indefinite(phrase))


def answer_tokens(tokenizer: Tokenizer) -> list[list[int]]:
    """Return the tokens that mean "yes" and those that mean "no", as far as a single token does."""
    encoded = [[tokenizer.encode(word) for word in spellings] for spellings in ANSWERS]
    unknown = tokenizer.control.unknown
    return [[ids[0] for ids in words if len(ids) == 1 and ids[0] != unknown] for words in encoded]


def available_evidence(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return the kinds of evidence that a model with this tokenizer can give."""
    asks = all(answer_tokens(tokenizer))
    return tuple(kind for kind in EVIDENCE_KINDS if asks or kind != QUESTION)


def check_evidence(options: EvidenceOptions, tokenizer: Tokenizer) -> None:
    """Raise a ModelError if a model with this tokenizer cannot give the evidence."""
    if not set(options.kinds) <= set(available_evidence(tokenizer)):
        raise ModelError(
            "the tokenizer has no single token for `yes` or for `no`, which the evidence"
            f" `{QUESTION}` compares: calibrate without it."
        )


@dataclass(frozen=True, eq=False)
class EvidencePrompt:
    """A prompt that is computed for the evidence about a phrase.

    Args:
        kind: OBJECT: the phrase's prompt itself; QUESTION: the existence question; PHRASE: the phrase
            without the image.
        phrase: Index of the phrase.
        prompt: The prompt.
        last: For how many of its last tokens hidden states are needed.
        words: The ids of the phrase if their probabilities are wanted; the first of these hidden states
            predict them.
    """

    kind: str
    phrase: int
    prompt: Prompt
    last: int
    words: Sequence[int] = ()


class EvidenceReader:
    """Makes the prompts for the evidence about phrases, and reads the values off the packs they come in.

    Attributes:
        values: The values of each phrase, by kind.
        prompts: The prompts; those of the phrases come last, in their order. So the other values are known
            when boxes are searched, also if there are so many prompts that they come in several packs.
        companions: Number of prompts before those of the phrases.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        phrases: A prompt for each phrase, which ends with `</phrase><object>`.
        options: The evidence to compute.

    Raises:
        ModelError: A model with this tokenizer cannot give it.
    """

    def __init__(
        self, model: Kosmos2, tokenizer: Tokenizer, phrases: Sequence[Prompt], options: EvidenceOptions
    ) -> None:
        check_evidence(options, tokenizer)
        self._model, self._tokenizer, self._options = model, tokenizer, options
        self.values: list[dict[str, float]] = [{} for _ in phrases]
        words = [words_of_prompt(prompt.ids, tokenizer.control) for prompt in phrases]
        companions: list[EvidencePrompt] = []
        if QUESTION in options.kinds:
            companions += [self._question(*known) for known in enumerate(zip(phrases, words, strict=True))]
        spoken = words if PHRASE in options.kinds else [[] for _ in words]
        seeing = [
            EvidencePrompt(OBJECT, index, prompt, LAST + len(ids) + bool(ids), ids)
            for index, (prompt, ids) in enumerate(zip(phrases, spoken, strict=True))
        ]
        companions += [_without_image(known) for known in seeing if known.words]
        self.prompts, self.companions = [*companions, *seeing], len(companions)

    def read(self, packed: PackedPrompts) -> None:
        """Store the values of the kinds `question` and `phrase` that the prompts of a pack have."""
        known = [self.prompts[index] for index in packed.indices]
        asked = [number for number, prompt in enumerate(known) if prompt.kind == QUESTION]
        spoken = [number for number, prompt in enumerate(known) if prompt.words]
        parts: list[Tensor] = []
        if asked:
            parts.append(self._yes_log_odds(torch.stack([packed.hidden[number][-1] for number in asked])))
        if spoken:
            words = [known[number].words for number in spoken]
            parts.append(self._log_probabilities(words, [packed.hidden[number] for number in spoken]))
        values = torch.cat(parts).tolist() if parts else []  # one wait for the device
        for number, value in zip([*asked, *spoken], values, strict=True):
            self._store(known[number], value)

    def _store(self, prompt: EvidencePrompt, value: float) -> None:
        values = self.values[prompt.phrase]
        if prompt.kind == QUESTION:
            values[QUESTION] = value
        else:
            values[PHRASE] = values.get(PHRASE, 0.0) + (value if prompt.kind == OBJECT else -value)

    def _question(self, phrase: int, known: tuple[Prompt, Sequence[int]]) -> EvidencePrompt:
        prompt, words = known
        text = "".join(map(self._tokenizer.piece, words)).strip()
        question = Ask(write_markdown(GroundedText(existence_question(self._options.question, text))))
        return EvidencePrompt(
            QUESTION, phrase, Prompt(prompt.images, prompt_ids(self._tokenizer, question)), last=1
        )

    def _log_probabilities(self, words: Sequence[Sequence[int]], hidden: Sequence[Tensor]) -> Tensor:
        """Return the mean log-probability (n,) of the words of each of n phrases."""
        lengths = list(map(len, words))
        states = torch.cat([rows[:length] for rows, length in zip(hidden, lengths, strict=True)])
        targets = torch.tensor([token for ids in words for token in ids], device=states.device)
        logits = self._model.decoder.logits(states).float()
        log_probabilities = logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)
        return torch.stack([values.mean() for values in torch.split(log_probabilities, lengths)])

    def _yes_log_odds(self, hidden: Tensor) -> Tensor:
        """Return the log-odds (n,) of "yes" against "no", from the hidden states (n, D) after questions."""
        logits = self._model.decoder.logits
        yes, no = (
            torch.cat([logits(hidden, range(token, token + 1)).float() for token in tokens], 1).logsumexp(1)
            for tokens in answer_tokens(self._tokenizer)
        )
        return yes - no


def _without_image(phrase: EvidencePrompt) -> EvidencePrompt:
    """Return the prompt of a phrase up to its last word, without the image."""
    ids = [token for token in phrase.prompt.ids[: -LAST - 1] if token != IMAGE]
    blind = Prompt(phrase.prompt.images, ids, blind=True)
    return EvidencePrompt(PHRASE, phrase.phrase, blind, len(phrase.words), phrase.words)


def words_of_prompt(ids: Sequence[int], control: ControlIds) -> list[int]:
    """Return the ids of the phrase that a prompt ends with, between `<phrase>` and `</phrase><object>`."""
    begin = max((index for index, token in enumerate(ids) if token == control.phrase), default=-1) + 1
    return list(ids[begin:-LAST])


def object_log_odds(logits: Tensor, control: ControlIds) -> Tensor:
    """Return the log-odds (n,) of `<object>`, from the logits (n, V) after `</phrase>`."""
    others = (logits[:, : control.object].logsumexp(1), logits[:, control.object + 1 :].logsumexp(1))
    return logits[:, control.object] - torch.logaddexp(*others)
