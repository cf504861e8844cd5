"""A tokenizer of one's own for a small model: the data's words as pieces, letters to spell all others, and
Kosmos-2's control tokens, in the peer's files."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from kosmos2_core.boxes import GRID
from kosmos2_core.requests import WORDINGS
from kosmos2_core.tokenizer import SPACE
from kosmos2_data.records import Record

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
LETTERS = [SPACE, *(chr(code) for code in range(ord("!"), ord("~") + 1))]
WORDS = ("An image of", "Describe this image in detail:", "Question:", "Answer:")  # of the prompts
RARE = 1e-7  # a letter's share: any word that is known is likelier than the letters that spell it


def texts_of(records: Iterable[Record]) -> Iterator[str]:
    """All that a model of these records reads and says."""
    for record in records:
        for item in record.items:
            yield item.text.text
            if item.question is not None:
                yield item.question.text
    yield from WORDS
    yield from (wording.replace("[", "").replace("]", "") for wording in WORDINGS)


def make_vocabulary(texts: Iterable[str], words: int, folder: Path, image_size: int) -> None:
    """Write what the peer calls a processor, with the most frequent words, into a checkpoint's folder."""
    from transformers import Kosmos2Processor, XLMRobertaTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    counts = Counter(word for text in texts for word in re.findall(r"[^\W_]+", text))
    total = counts.total()
    vocabulary = [
        *((name, 0.0) for name in SPECIAL),
        *((SPACE + word, math.log(count / total)) for word, count in counts.most_common(words)),
        *((letter, math.log(RARE)) for letter in LETTERS),
        ("<mask>", 0.0),
    ]
    square = {"height": image_size, "width": image_size}
    processor = Kosmos2Processor(  # type: ignore[no-untyped-call]
        CLIPImageProcessorPil(size=square, crop_size=square),
        XLMRobertaTokenizer(vocab=vocabulary),
        num_patch_index_tokens=GRID * GRID,
    )
    processor.save_pretrained(folder)
