"""The node with a model that a server on this machine runs."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")
pytest.importorskip("starlette", reason="set up without the extra `serve`")
pytest.importorskip("uvicorn", reason="set up without the extra `serve`")
pytest.importorskip("prometheus_client", reason="set up without the extra `serve`")

from live_server import live_server  # noqa: E402

from kosmos2_core.engine import Engine  # noqa: E402
from kosmos2_core.images import load_image  # noqa: E402
from kosmos2_core.requests import Locate  # noqa: E402
from kosmos2_ros.errors import Code  # noqa: E402
from kosmos2_ros.node import load_engine  # noqa: E402
from kosmos2_serve.client import RemoteEngine  # noqa: E402

TEXT = "put [the orange cube] onto [the green plate]"


@pytest.fixture(scope="module")
def engine(root):
    return Engine.load(root / "models/tabletop-tiny")


@pytest.fixture(scope="module")
def pixels(root):
    return load_image(root / "kosmos2_serve/example_scenes/rings.jpg")


@contextmanager
def server_process(root, port=0):
    """Run the real command; yield the process and its port when it answers."""
    command = [sys.executable, "-m", "kosmos2_cli", "serve", "--port", str(port), "--log-level", "error"]
    with subprocess.Popen(
        [*command, "--model", str(root / "models/tabletop-tiny")], stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        try:
            yield process, int(re.search(r":(\d+),", process.stdout.readline())[1])
        finally:
            process.kill()


def flat(message):
    """The ids, classes, scores and boxes of detections, as precise as batches leave them."""
    return [
        (
            found.id.partition("/")[2],
            found.results[0].hypothesis.class_id,
            *np.round([found.results[0].hypothesis.score, found.bbox.size_x, found.bbox.size_y], 3),
        )
        for found in message.detections
    ]


@pytest.mark.slow
def test_detections_of_a_remote_model_are_the_local_ones(serve, robot, root, engine, pixels):
    with live_server(engine) as server:
        serve(load=load_engine, model=server.url, command=TEXT)
        robot.show(pixels)
        remote, frame = robot.wait("detections"), robot.wait("grounding")
        answer = robot.call("ask", question="What is left of the cube?", ground=True)
        assert (answer.error, frame.model) == (Code.OK, server.url)
    expected = engine.look(pixels).run(Locate(TEXT))[0]
    assert [list(phrase.patch_upper_left) for phrase in frame.phrases] == [
        [first for first, _ in entity.cells] for entity in expected.phrases
    ]
    assert flat(remote) == [
        (
            f"{index}/0",
            entity.phrase,
            *np.round([box.score, 640 * (box.x2 - box.x1), 480 * (box.y2 - box.y1)], 3),
        )
        for index, entity in enumerate(expected.phrases)
        for box in entity.boxes
    ]


@pytest.mark.slow
def test_a_stream_resumes_by_itself_after_its_server_was_killed(serve, robot, root, pixels):
    with server_process(root) as (process, port):
        node = serve(
            load=load_engine,
            model=f"http://127.0.0.1:{port}",
            command=TEXT,
            max_frame_age_s=2.0,
            query_timeout_s=5.0,
        )
        robot.show(pixels)
        robot.wait("grounding")
        process.kill()
        process.wait()
    robot.show(pixels)

    def names_the_server(message):
        model = next((status for status in message.status if status.name.endswith("model")), None)
        return model is not None and f"127.0.0.1:{port} has not answered" in model.message

    robot.wait("diagnostics", names_the_server)
    refused = robot.call("locate", text="the cube", image=robot.show(pixels))
    assert refused.error in (Code.MODEL_ERROR, Code.TIMEOUT)
    assert f"127.0.0.1:{port}" in refused.message or refused.error == Code.TIMEOUT
    with server_process(root, port):
        answered = len(robot.heard["grounding"])
        robot.show(pixels)
        for _ in range(100):
            robot.show(pixels)
            with robot.news:
                if robot.news.wait_for(lambda: len(robot.heard["grounding"]) > answered, 0.5):
                    break
        assert len(robot.heard["grounding"]) > answered
        node.trigger_deactivate()
        counts = node._frames[""].latest.counts.snapshot()
        assert counts.received == sum(counts.outcomes.values()) + counts.in_flight
        assert counts.in_flight == 0


@pytest.mark.slow
def test_jpeg_of_high_quality_changes_little(root, engine):
    """Cells of the best boxes and their scores over simulated scenes, sent as JPEG of quality 95."""
    pytest.importorskip("mujoco", reason="set up without the extra `sim`")
    from kosmos2_sim.tabletop import Tabletop

    same = total = 0
    differences = []
    with Tabletop(640, 480) as tabletop, live_server(engine) as server:
        jpeg = RemoteEngine(f"{server.url}?jpeg=95")
        for seed in range(7100, 7140):
            shot = tabletop.shoot(seed, "standard")
            names = sorted({f"the {thing.colour} {thing.shape}" for thing in shot.things})
            request = Locate("; ".join(names))
            [ours], [theirs] = jpeg.look(shot.image).run(request), engine.look(shot.image).run(request)
            for phrase, expected in zip(ours.phrases, theirs.phrases, strict=True):
                if not (phrase.boxes and expected.boxes):
                    total += bool(phrase.boxes or expected.boxes)
                    continue
                total += 1
                same += phrase.cells == expected.cells
                differences.append(abs(phrase.boxes[0].score - expected.boxes[0].score))
    print(f"same cells {same}/{total}, largest difference of scores {max(differences):.3f}")
    assert same >= 0.95 * total
    assert np.quantile(differences, 0.97) <= 0.05
