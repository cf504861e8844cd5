"""The small model in transformers, asked by the strings of the release: what our benchmarks must come to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import Kosmos2ForConditionalGeneration, Kosmos2Processor

from kosmos2_core.boxes import Box

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "models/tabletop-tiny"
GROUP = re.compile(r"<phrase>([^<]+)</phrase><object>((?:<patch_index_\d+>|</delimiter_of_multi_objects/>)+)")
SIDE = 224  # px, of the pictures


class ReleasedPeer:
    def __init__(self) -> None:
        self.model = Kosmos2ForConditionalGeneration.from_pretrained(TINY).eval()
        self.processor = Kosmos2Processor.from_pretrained(TINY)

    @torch.no_grad()
    def generates(self, file: Path, text: str, **settings: object) -> tuple[str, str]:
        """The prompt, and what follows it, with control tokens."""
        inputs = self.processor(text=text, images=Image.open(file), return_tensors="pt")
        names = ("pixel_values", "input_ids", "attention_mask", "image_embeds_position_mask")
        ids = self.model.generate(
            **{name: inputs[name] for name in names},
            **{"max_new_tokens": 64, "do_sample": False, "no_repeat_ngram_size": 3, **settings},
        )
        length = inputs["input_ids"].shape[1]
        prompt, answer = self.processor.batch_decode([ids[0, :length], ids[0, length:]])
        return prompt, answer

    def says(self, file: Path, text: str, **settings: object) -> str:
        """The answer's words alone."""
        _, answer = self.generates(file, text, **settings)
        words, _ = self.processor.post_process_generation(answer)
        return re.sub(r" +([,.])", r"\1", words).strip()

    def boxes(self, file: Path, text: str) -> list[Box]:
        """As the release's evaluation reads them: of the phrase that the prompt ends with."""
        phrase = re.findall(r"<phrase>([^<]+)</phrase>", text)[-1].strip()
        groups = GROUP.findall("".join(self.generates(file, text)))
        pairs = [pair for name, inside in groups if name.strip() == phrase for pair in inside.split("</del")]
        return [self._box(*map(int, re.findall(r"index_(\d+)", pair))) for pair in pairs]

    @staticmethod
    def _box(first: int, last: int) -> Box:
        (top, left), (bottom, right) = divmod(first, 32), divmod(last, 32)
        begin, end = (0, 1) if left == right or top == bottom else (0.5, 0.5)
        return Box((left + begin) / 32, (top + begin) / 32, (right + end) / 32, (bottom + end) / 32)

    @torch.no_grad()
    def likelihood(self, file: Path | None, text: str, option: str) -> float:
        """Mean log-probability of the option's tokens, where the text goes on with it."""
        encode = self.processor.tokenizer.encode
        count = len(encode(f"{text} {option}")) - len(encode(text))
        if file is None:
            ids = torch.tensor([encode(f"{text} {option}")[:-1]])  # without </s>
            logits = self.model.text_model(input_ids=ids).logits
        else:
            inputs = self.processor(text=f"{text} {option}", images=Image.open(file), return_tensors="pt")
            ids = inputs["input_ids"]
            logits = self.model(**inputs).logits
        shares = logits[0, -count - 1 : -1].log_softmax(-1)
        return float(shares.gather(1, ids[0, -count:, None]).mean())


@pytest.fixture(scope="session")
def peer() -> ReleasedPeer:
    return ReleasedPeer()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Simulated images, on which the small model has something to say."""
    from kosmos2_sim.tabletop import Tabletop

    folder = tmp_path_factory.mktemp("pictures")
    with Tabletop(SIDE, SIDE) as tabletop:
        for seed in range(4):
            picture = tabletop.shoot(7_000_000 + seed, "standard").image
            Image.fromarray(picture).save(folder / f"{seed}.png")
    return sorted(folder.iterdir())
