"""The contender that runs the parts that `openvino_parts.py` converted, and generates greedily."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from contenders import Generating, Image, phrase_prompt
from numpy.typing import NDArray

PARTS = ("encoder", "projection", "embedding", "decoder")
MASKED = -1e9  # finite in bfloat16: a row of padding that may attend to nothing would become NaN


class OpenVino(Generating):
    """The model of `transformers`, converted to OpenVINO with compressed weights."""

    def __init__(self, folder: Path, device: str, weights: str) -> None:
        self.weights = weights
        super().__init__(folder, device)

    def start(self, folder: Path, device: str) -> None:
        parts = folder / f"openvino-{self.weights}"
        self.shape = json.loads((parts / "shape.json").read_text())
        core = openvino.Core()
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        self.encoder, self.projection, self.embedding, self.decoder = (
            core.compile_model(parts / f"{name}.xml", device.upper(), settings).create_infer_request()
            for name in PARTS
        )

    def generate(self, inputs: Any, rows: list[int], tokens: int) -> list[list[int]]:
        ids, real = inputs["input_ids"].numpy(), inputs["attention_mask"].numpy()
        logits = self.prefill(inputs, rows)
        positions = real.sum(1, keepdims=True) + 1  # padding has position 1, tokens have 2, 3, ...
        chosen = []
        for step in range(tokens):
            ids = logits[:, -1].argmax(-1)[:, None]
            chosen.append(ids[:, 0].tolist())
            if step + 1 < tokens:
                real = np.pad(real, ((0, 0), (0, 1)), constant_values=1)
                positions = positions + 1
                mask = np.where(real, 0, MASKED).astype(np.float32)[:, None, None, :]
                logits = self.decode(self.first_output(self.embedding, ids), positions, mask)
        return chosen

    def prefill(self, inputs: Any, rows: list[int]) -> NDArray[np.float32]:
        """Take in texts with their images, and return the logits (B, 1, V) after the last tokens."""
        real = inputs["attention_mask"].numpy().astype(bool)
        features = self.first_output(self.encoder, inputs["pixel_values"].numpy())
        images = self.first_output(self.projection, features)[rows]
        embeddings = self.first_output(self.embedding, inputs["input_ids"].numpy())
        slots = inputs["image_embeds_position_mask"].numpy().astype(bool)
        embeddings[slots] = images.reshape(-1, images.shape[-1])
        causal = np.tri(real.shape[1], dtype=bool) & real[:, None, None, :]
        positions = np.where(real, real.cumsum(1) + 1, 1)
        self.empty_states(len(real))
        return self.decode(embeddings, positions, np.where(causal, 0, MASKED).astype(np.float32))

    def decode(
        self, embeddings: NDArray[np.float32], positions: NDArray[np.int64], mask: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        beams = np.arange(len(embeddings))
        inputs = {"embeddings": embeddings, "positions": positions, "mask": mask, "beams": beams}
        logits: NDArray[np.float32] = self.decoder.infer(inputs, share_inputs=True)["logits"]
        return logits

    def empty_states(self, batch: int) -> None:
        """Forget all keys and values, and set the number of sequences."""
        empty = np.zeros(
            (batch, self.shape["heads"], 0, self.shape["width"] // self.shape["heads"]), np.float32
        )
        self.decoder.reset_state()
        for state in self.decoder.query_state():
            state.state = openvino.Tensor(empty)

    @staticmethod
    def first_output(request: Any, values: NDArray[Any]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = request.infer([values])[0]
        return found

    def logits(self, image: Image, phrase: str) -> NDArray[np.float32]:
        inputs, rows = self.prepare([image], [phrase_prompt(phrase)])
        return self.prefill(inputs, rows)[0, -1]
