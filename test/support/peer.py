"""The peer: transformers' Kosmos-2, made here for all parity tests and benchmarks."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from sentencepiece import SentencePieceTrainer, sentencepiece_model_pb2
from transformers import (
    Kosmos2Config,
    Kosmos2ForConditionalGeneration,
    Kosmos2Processor,
    XLMRobertaTokenizer,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil


# Small models of different shapes; the last has the public checkpoint's layer widths.
def shape(
    decoder: str, tower: str, queries: int, text: dict | None = None, vision: dict | None = None
) -> dict:
    """A configuration from rows of numbers, which read better than nested dictionaries."""
    text_names = ("vocab_size", "embed_dim", "layers", "ffn_dim", "attention_heads")
    vision_names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    vision_names += ("image_size", "patch_size")
    return {
        "text_config": dict(zip(text_names, map(int, decoder.split()), strict=True)) | (text or {}),
        "vision_config": dict(zip(vision_names, map(int, tower.split()), strict=True)) | (vision or {}),
        "latent_query_num": queries,
    }


SHAPES = {
    "small": shape("1200 64 3 128 4", "48 96 2 3 56 14", 8),
    "deep": shape("1100 32 6 96 2", "32 64 5 4 64 16", 16),
    "wide": shape(
        *("1500 96 2 200 6", "60 100 1 5 28 7", 64),
        text={"scale_embedding": False, "layer_norm_eps": 1e-3},
        vision={"hidden_act": "gelu"},
    ),
    "full-width": shape("3000 2048 1 8192 32", "1024 4096 1 16 224 14", 64),
}


def make_peer(config: str | dict, seed: int = 0) -> Kosmos2ForConditionalGeneration:
    """A model of random weights, also where the peer starts from zeros and ones."""
    torch.manual_seed(seed)
    model = Kosmos2ForConditionalGeneration(
        Kosmos2Config(**(SHAPES[config] if isinstance(config, str) else config))
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.1)
    return model


def save_peer(model: Kosmos2ForConditionalGeneration, folder: Path, **settings: object) -> Path:
    model.save_pretrained(folder, **settings)
    return folder


def image_processor(size: int) -> CLIPImageProcessorPil:
    """As the public checkpoint configures it: squashed to a square."""
    square = {"height": size, "width": size}
    return CLIPImageProcessorPil(size=square, crop_size=square)


def make_processor(
    size: int = 224, queries: int = 64, grid: int = 32, pieces: int = 900, vocabulary_size: int = 0
) -> Kosmos2Processor:
    """The peer's processor with a vocabulary trained on this repository's documents, filled up to a size
    with pieces that no text has: at 64001 the control tokens get the public checkpoint's ids."""
    root = Path(__file__).resolve().parents[2]
    lines = [line for file in sorted(root.glob("**/*.md")) for line in file.read_text().splitlines() if line]
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=pieces, minloglevel=2, num_threads=1
    )
    trained = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    vocabulary = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    vocabulary += [(piece.piece, piece.score) for piece in trained.pieces if piece.type == 1]
    vocabulary += [(f"\u2581unused{number} ", -100.0) for number in range(len(vocabulary), vocabulary_size)]
    tokenizer = XLMRobertaTokenizer(
        vocab=[*vocabulary, ("<mask>", 0.0)],
        _spm_precompiled_charsmap=trained.normalizer_spec.precompiled_charsmap,
    )
    processor = Kosmos2Processor(image_processor(size), tokenizer, num_patch_index_tokens=grid * grid)
    processor.num_image_tokens = queries
    return processor
