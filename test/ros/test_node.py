"""The node as a robot meets it: topics, services, the action, parameters, states. Real rclpy, real DDS."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from action_msgs.msg import GoalStatus  # noqa: E402
from builtin_interfaces.msg import Duration, Time  # noqa: E402
from kosmos2.action import Converse  # noqa: E402
from kosmos2.msg import Box  # noqa: E402
from kosmos2.srv import Ask, Describe, Locate  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from robot import Robot, values  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from kosmos2_core.errors import InputError  # noqa: E402
from kosmos2_core.requests import Caption  # noqa: E402
from kosmos2_core.requests import Describe as DescribeRequest  # noqa: E402
from kosmos2_ros.errors import Code  # noqa: E402
from kosmos2_ros.node import load_engine  # noqa: E402
from kosmos2_ros.parameters import parameter_overrides  # noqa: E402


def test_codes_are_those_of_the_services():
    for kind in (Locate.Response, Describe.Response, Ask.Response, Converse.Result):
        assert {code.name: getattr(kind, code.name) for code in Code} == {
            code.name: code.value for code in Code
        }


# The stream.


def test_a_frame_is_answered_with_its_header_and_in_its_pixels(serve, robot):
    serve(command="put [the red mug] into [the bowl]", image_transport="raw")
    sent = robot.show(np.zeros((50, 200, 3), np.uint8))
    frame, flat = robot.wait("grounding"), robot.wait("detections")
    assert frame.header == flat.header == sent.header
    assert (frame.text, frame.command_id, frame.camera) == ("put the red mug into the bowl", "1", "")
    assert (frame.image_width, frame.image_height) == (200, 50)
    [box] = frame.phrases[0].boxes
    assert (box.x_min, box.y_min, box.x_max, box.y_max) == (50, 25, 150, 50)
    [detection] = flat.detections
    assert detection.id == "1/0/0"
    assert (detection.bbox.center.position.x, detection.bbox.size_y) == (100, 25)
    assert detection.results[0].hypothesis.score == 0.9
    assert frame.frame_age.sec + frame.frame_age.nanosec / 1e9 > 0


def test_nothing_found_is_an_empty_array(serve, robot, model):
    model.boxes = ()
    serve(command="the unicorn")
    robot.show()
    assert robot.wait("detections").detections == []
    assert robot.wait("grounding").phrases[0].boxes == []


def test_a_new_command_takes_the_place_of_the_old_and_an_empty_one_stops(serve, robot, model):
    node = serve(command="the mug")
    robot.show()
    assert robot.wait("grounding").text == "the mug"
    robot.command("find [the bowl]")
    while not node.parameters.command.startswith("find"):
        time.sleep(0.01)
    robot.show()
    frame = robot.wait("grounding", lambda message: message.text == "find the bowl")
    assert frame.command_id == "2"
    robot.command("")
    while node.parameters.command:
        time.sleep(0.01)
    asked = len(model.jobs)
    robot.show()
    assert robot.call("locate", text="the bowl").error == Code.OK
    assert len(model.jobs) == asked + 1, "the service's, not the stream's"


def test_the_same_command_again_changes_nothing(serve, robot):
    node = serve(command="the mug")
    robot.show()
    assert robot.wait("grounding").command_id == "1"
    current = node._session.inference.command
    events = []
    node.add_post_set_parameters_callback(events.append)
    for _ in range(3):
        robot.command("the mug")
    node.set_parameters([Parameter("command", value="the mug")])
    robot.command("the bowl")  # heard after them
    while node.parameters.command != "the bowl":
        time.sleep(0.01)
    assert len(events) == 2, "a repeated command is not even a parameter that is set"
    both = [Parameter("command", value="the mug"), Parameter("max_boxes", value=3)]
    assert node.set_parameters_atomically(both).successful
    assert node._session.inference.command.id == "3"
    assert node._session.inference.command is not current


def test_an_equal_request_keeps_its_id_whatever_else_is_set(serve):
    node = serve(command="the mug")
    current = node._session.inference.command
    same = [Parameter("command", value="the mug"), Parameter("max_rate_hz", value=30.0)]
    assert node.set_parameters_atomically(same).successful
    assert node._session.inference.command is current


LONG = "the mug and " * 2000


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (LONG, "the text has more than 4,096 bytes (max_text_bytes)"),
        ("é" * 2049, "the text has more than 4,096 bytes (max_text_bytes)"),
        ("a mug;" * 33, "the text has 33 phrases, more than max_phrases (32)"),
    ],
)
def test_too_long_a_text_is_refused_by_every_way_in(serve, robot, text, sentence):
    node = serve(command="the mug")
    robot.show()
    robot.wait("grounding")
    [result] = node.set_parameters([Parameter("command", value=text)])
    assert not result.successful
    assert sentence in result.reason
    robot.command(text)
    located = robot.call("locate", text=text)
    assert (located.error, located.message[: len(sentence)]) == (Code.BAD_REQUEST, sentence)
    if "phrases" not in sentence:
        asked = robot.call("ask", question=text)
        assert (asked.error, asked.message[: len(sentence)]) == (Code.BAD_REQUEST, sentence)
    assert node.parameters.command == "the mug"


def test_the_limits_on_text_are_parameters(serve, robot):
    node = serve(command="the mug", max_text_bytes=20, max_phrases=2)
    robot.show()
    assert robot.call("locate", text="a mug; a bowl; a can").error == Code.BAD_REQUEST
    assert robot.call("locate", text="a mug; a bowl").error == Code.OK
    [result] = node.set_parameters([Parameter("max_text_bytes", value=3)])
    assert not result.successful, "the current command would be too long"
    node.set_parameters([Parameter("max_phrases", value=3)])
    assert robot.call("locate", text="a mug; a bowl; a can").error == Code.OK


def test_a_dialogue_too_long_is_refused(serve, robot):
    serve()
    turns = json.dumps([["what?", "that " * 14_000]])
    for fields in ({"text": LONG}, {"text": "what?", "dialogue": turns}):
        goal = robot.result(robot.converse.send_goal_async(Converse.Goal(**fields)))
        result = robot.result(goal.get_result_async()).result
        assert result.error == Code.BAD_REQUEST
        assert "max_text_bytes" in result.message


def test_without_a_box_an_empty_array_in_3d_needs_no_depth(serve, robot, model):
    """Looked for and not found: that is known without depth and transforms."""
    serve(command="the unicorn", target_frame="world")
    model.boxes = ()
    robot.listen_3d()
    robot.show()
    robot.wait("grounding")
    sent = robot.show()
    found = robot.wait("detections_3d", lambda message: message.header.stamp == sent.header.stamp)
    assert (found.header.frame_id, len(found.detections)) == ("world", 0)
    response = robot.call("locate", text="the unicorn", want_3d=True)
    assert (response.error, response.message) == (Code.OK, "")
    assert len(response.detections.detections) == len(response.detections_3d.detections) == 0
    assert response.frame.phrases[0].presence > 0


def test_a_command_that_makes_no_sense_leaves_the_old_one(serve, robot):
    node = serve(command="the mug")
    robot.command("   ;  ")
    robot.show()
    assert robot.wait("grounding").text == "the mug"
    assert node.parameters.command == "the mug"


def test_several_cameras_have_topics_of_their_own(serve, robot):
    serve(cameras=["left", "right"], command="the mug")
    left, right = Robot("left"), Robot("right")
    try:
        sent = right.show()
        assert right.wait("grounding").header == sent.header
        assert right.wait("grounding").camera == "right"
        assert left.heard["grounding"] == []
        assert robot.call("locate", text="the cup", camera="right").frame.camera == "right"
        assert robot.call("locate", text="the cup", camera="left").error == Code.NO_IMAGE
        assert "left, right" in robot.call("locate", text="the cup", camera="top").message
    finally:
        left.close()
        right.close()


def test_pictures_are_drawn_only_for_who_looks(serve, robot):
    serve(command="the mug")
    robot.show()
    robot.wait("grounding")
    robot.listen(Image, "/grounding/annotated", "annotated")
    while not robot.heard["annotated"]:
        sent = robot.show()
        robot.wait("grounding", lambda message, sent=sent: message.header == sent.header)
    picture = robot.wait("annotated")
    assert (picture.width, picture.height, picture.encoding) == (64, 48, "rgb8")
    assert len(set(bytes(picture.data))) > 2, "something is drawn"


# Bad images.


def test_a_malformed_image_is_counted_with_its_reason_and_the_next_good_one_answered(serve, robot):
    node = serve(command="the mug")
    bad = [
        {"step": 0},
        {"height": 0},
        {"width": 2**32 - 1},
        {"encoding": "no_such"},
        {"encoding": "mono\x008"},
        {"data": b"\0" * 7},
    ]
    counts = node._frames[""].latest.counts
    for number, wrong in enumerate(bad, 1):
        message = Image(
            header=robot.header(), height=48, width=64, step=192, encoding="rgb8", data=b"\0" * 48 * 192
        )
        for name, value in wrong.items():
            setattr(message, name, value)
        robot.send(message)
        while counts.snapshot().outcomes["rejected"] < number:
            time.sleep(0.005)
    good = robot.show()
    assert robot.wait("grounding").header == good.header
    after = counts.snapshot()
    assert (after.received, after.residual) == (len(bad) + 1, 0)
    assert sum(after.reasons.values()) == len(bad)


# Services.


def test_a_region_without_area_is_refused_in_pixels(serve, robot):
    serve()
    image = Image(header=robot.header(), height=10, width=20, step=20, encoding="mono8", data=b"\7" * 200)
    region = Box(x_min=15.0, y_min=2.0, x_max=5.0, y_max=8.0)
    response = robot.call("describe", image=image, region=region)
    assert response.error == Code.BAD_REQUEST
    assert "(15, 2, 5, 8) has no area in the image of 20 x 10 pixels" in response.message


def test_a_camera_that_does_not_exist_is_refused(serve, robot):
    serve()
    response = robot.call("locate", text="the mug", camera="left")
    assert response.error == Code.BAD_REQUEST
    assert response.message == "there is no camera 'left': leave `camera` empty."


def test_a_phrase_is_located_in_the_newest_frame(serve, robot):
    serve()
    sent = robot.show()
    while robot.call("locate", text="the mug").error == Code.NO_IMAGE:
        pass
    response = robot.call("locate", text="the mug", max_boxes=3, min_score=0.2)
    assert (response.error, response.message) == (Code.OK, "")
    assert response.frame.header == sent.header
    assert response.frame.command_id.startswith("q")
    assert response.detections.detections[0].id == f"{response.frame.command_id}/0/0"
    assert response.detections_3d.detections == []


def test_an_image_can_come_with_the_request(serve, robot, model):
    serve()
    image = Image(header=robot.header(), height=10, width=20, step=20, encoding="mono8", data=b"\7" * 200)
    response = robot.call("locate", text="the mug", image=image)
    assert (response.error, response.frame.image_width) == (Code.OK, 20)
    assert (model.jobs[-1][0][0][0] == 7).all()
    image.step = 3
    assert robot.call("locate", text="the mug", image=image).error == Code.BAD_REQUEST


def test_a_region_is_described_and_none_is_a_caption(serve, robot, model):
    serve()
    robot.show()
    while robot.call("describe").error == Code.NO_IMAGE:
        pass
    assert isinstance(model.jobs[-1][0][1], Caption)
    robot.call("describe", region=Box(x_min=16.0, y_min=12.0, x_max=32.0, y_max=48.0))
    asked = model.jobs[-1][0][1]
    assert isinstance(asked, DescribeRequest)
    assert (asked.box.x1, asked.box.y1, asked.box.x2, asked.box.y2) == (0.25, 0.25, 0.5, 1.0)
    outside = robot.call("describe", region=Box(x_min=100.0, y_min=0.0, x_max=120.0, y_max=10.0))
    assert outside.error == Code.BAD_REQUEST


def test_a_question_is_asked(serve, robot, model):
    serve()
    robot.show()
    while robot.call("ask", question="how many mugs?", ground=True).error == Code.NO_IMAGE:
        pass
    asked = model.jobs[-1][0][1]
    assert (asked.question, asked.ground, asked.region) == ("how many mugs?", True, None)


class TestErrorCodes:
    """Each can be met, with a sentence. BUSY, TIMEOUT and STALE of the queue: test_inference.py too."""

    @pytest.mark.parametrize(
        "wrong",
        [
            {"text": ""},
            {"text": " ; "},
            {"text": "the mug", "min_score": float("nan")},
            {"text": "the mug", "min_score": 2.0},
            {"text": "the mug", "timeout": Duration(sec=-1)},
            {"text": "the mug", "camera": "no_such"},
        ],
    )
    def test_bad_request(self, serve, robot, wrong):
        serve()
        response = robot.call("locate", **wrong)
        assert response.error == Code.BAD_REQUEST
        assert response.message.endswith(".")

    def test_no_image(self, serve, robot):
        serve()
        assert robot.call("locate", text="the mug").error == Code.NO_IMAGE

    def test_stale(self, serve, robot):
        serve(max_frame_age_s=0.5)
        robot.show(head=robot.header(number=-(10**10)))
        while (response := robot.call("locate", text="the mug")).error == Code.NO_IMAGE:
            pass
        assert response.error == Code.STALE
        late = Time(sec=2_000_000_000)
        quick = Duration(nanosec=50_000_000)
        assert robot.call("locate", text="the mug", not_before=late, timeout=quick).error == Code.STALE

    def test_busy_and_timeout(self, serve, robot, model):
        serve(query_queue_size=1)
        model.open = False
        robot.show()
        first = robot._clients["locate"].call_async(Locate.Request(text="the mug"))
        while not model.jobs[1:]:
            if first.done():  # before the image had arrived
                first = robot._clients["locate"].call_async(Locate.Request(text="the mug"))
            time.sleep(0.01)
        quick = Duration(nanosec=200_000_000)
        assert robot.call("locate", text="the mug", timeout=quick).error == Code.TIMEOUT
        second = [robot._clients["locate"].call_async(Locate.Request(text="the mug")) for _ in range(3)]
        codes = set()
        model_free = False
        while not model_free:
            done = [future for future in second if future.done()]
            codes |= {future.result().error for future in done}
            model_free = Code.BUSY in codes
            time.sleep(0.01)
        model.let.release(100)
        assert robot.result(first).error == Code.OK

    def test_no_depth(self, serve, robot):
        serve()
        robot.show()
        while (response := robot.call("locate", text="the mug", want_3d=True)).error == Code.NO_IMAGE:
            pass
        assert response.error == Code.NO_DEPTH
        assert response.detections.detections, "2D is filled in"

    def test_model_error_names_no_addresses(self, serve, robot, model):
        serve()
        robot.show()
        while robot.call("locate", text="the mug").error == Code.NO_IMAGE:
            pass
        model.error = RuntimeError("CUDA error at 0x7fff in /home/someone/model.py")
        response = robot.call("locate", text="the mug")
        assert response.error == Code.MODEL_ERROR
        assert "0x" not in response.message
        assert "/" not in response.message
        assert robot.call("locate", text="the mug").error == Code.OK, "the node goes on"

    def test_inactive(self, serve, robot):
        node = serve(active=False)
        assert robot.call("locate", text="the mug").error == Code.INACTIVE
        node.trigger_configure()
        assert robot.call("describe").error == Code.INACTIVE
        node.trigger_activate()
        assert robot.call("ask", question="what?").error == Code.NO_IMAGE
        node.trigger_deactivate()
        assert robot.call("ask", question="what?").error == Code.INACTIVE


# The action.


def converse(robot, heard, **fields):
    assert robot.converse.wait_for_server(60)
    goal = Converse.Goal(**fields)
    return robot.result(
        robot.converse.send_goal_async(goal, feedback_callback=lambda message: heard(message.feedback))
    )


def test_a_dialogue_streams_and_goes_on_with_what_was_said(serve, robot, model):
    serve()
    robot.show()
    while robot.call("locate", text="the mug").error == Code.NO_IMAGE:
        pass
    said = []
    goal = converse(robot, lambda feedback: said.append(feedback.text), text="what is it?")
    answer = robot.result(goal.get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert (answer.result.frame.text, answer.result.error) == ("a b c", Code.OK)
    assert said
    assert all("a b c".startswith(text) for text in said)
    again = converse(robot, said.append, text="are you sure?", dialogue=answer.result.dialogue)
    assert robot.result(again.get_result_async()).status == GoalStatus.STATUS_SUCCEEDED
    assert model.jobs[-1][0][1].turns == (("what is it?", "a b c"),)


def test_a_cancelled_dialogue_stops(serve, robot, model):
    serve()
    robot.show()
    while robot.call("locate", text="the mug").error == Code.NO_IMAGE:
        pass
    model.open = False
    goal = converse(robot, lambda feedback: None, text="what is it?")
    model.arrived.acquire(timeout=60)
    assert robot.result(goal.cancel_goal_async()).goals_canceling
    model.let.release()
    answer = robot.result(goal.get_result_async())
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert len(answer.result.frame.text) <= 1


@pytest.mark.parametrize("dialogue", ["no json", "[1]", '[["a"]]', "[[1, 2]]", "[" * 5000])
def test_a_dialogue_that_is_none_is_refused_in_a_sentence(serve, robot, dialogue):
    serve()
    answer = robot.result(
        converse(robot, lambda feedback: None, text="what?", dialogue=dialogue).get_result_async()
    )
    assert (answer.status, answer.result.error) == (GoalStatus.STATUS_ABORTED, Code.BAD_REQUEST)


# Parameters.


def test_parameters_change_as_one_set_or_not_at_all(serve):
    node = serve(command="the mug")
    results = node.set_parameters_atomically(
        [Parameter("max_boxes", value=3), Parameter("depth_min_m", value=50.0)]
    )
    assert not results.successful
    assert "depth_min_m" in results.reason
    assert (node.parameters.max_boxes, node.get_parameter("max_boxes").value) == (1, 1)
    both = [Parameter("depth_max_m", value=90.0), Parameter("depth_min_m", value=50.0)]
    assert node.set_parameters_atomically(both).successful
    assert (node.parameters.depth_min_m, node.parameters.depth_max_m) == (50.0, 90.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_boxes", 0),
        ("min_score", float("nan")),
        ("min_score", 1.5),
        ("max_rate_hz", "fast"),
        ("device", "cpu"),
        ("query_timeout_s", 0.0),
        ("hang_timeout_s", 0.0),
        ("command", " ; "),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(serve, name, value):
    node = serve()
    before = node.parameters
    [result] = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful
    assert result.reason
    assert node.parameters == before


def test_an_integer_is_taken_for_a_number(serve):
    node = serve(min_score=1, max_rate_hz=30)
    assert (node.parameters.min_score, node.parameters.max_rate_hz) == (1.0, 30.0)
    [result] = node.set_parameters([Parameter("min_score", value=0)])
    assert result.successful, result.reason
    assert node.get_parameter("min_score").value == 0.0
    [result] = node.set_parameters([Parameter("min_score", value=2)])
    assert not result.successful


@pytest.mark.parametrize("name", ["cameras", "max_boxes"])
def test_an_empty_list_on_the_command_line_is_refused_in_a_sentence(serve, name):
    with pytest.raises(InputError, match=f"{name} is empty"):
        serve(active=False, **{name: None})  # an empty list has no type, so ROS hands over no value


def test_an_unknown_parameter_is_named_with_the_nearest_known(serve, capfd):
    serve(active=False, modle="models/tabletop-tiny", use_sim_time=False)
    log = capfd.readouterr().err
    assert "unknown parameter 'modle' is ignored: did you mean model?" in log
    assert "use_sim_time" not in log


def test_the_node_starts_with_its_overrides_if_rclpy_hides_them(serve, monkeypatch):
    assert parameter_overrides(object()) == {}
    monkeypatch.setattr("kosmos2_ros.parameters.parameter_overrides", lambda node: {})
    assert serve(active=False, max_boxes=3).parameters.max_boxes == 3


def test_every_parameter_is_described(serve):
    node = serve(active=False)
    for name in vars(node.parameters):
        assert node.describe_parameter(name).description, name


# States.


def test_a_model_that_cannot_be_loaded_leaves_the_node_unconfigured_and_alive(serve, robot, model):
    tries = []

    def load(options):
        tries.append(options.model)
        if len(tries) == 1:
            raise InputError("there is no such model.")
        return model

    node = serve(active=False, load=load)
    assert node.trigger_configure().name == "FAILURE"
    assert robot.call("locate", text="the mug").error == Code.INACTIVE
    assert node.trigger_configure().name == "SUCCESS"
    node.trigger_activate()
    robot.show()
    while robot.call("locate", text="the mug").error != Code.OK:
        pass


def test_a_model_that_cannot_be_loaded_is_an_error_on_diagnostics(serve, robot, model):
    def load(parameters):
        raise InputError("there is no such model.")

    node = serve(active=False, load=load)
    assert robot.status("model").level == b"\0"
    node.trigger_configure()
    status = robot.status("model", lambda status: status.level == b"\2")
    assert status.message == "not loaded: there is no such model."


def test_diagnostics_name_the_weights_and_warn_when_they_change_on_disk(serve, robot, root, tmp_path):
    folder = shutil.copytree(root / "models/tabletop-tiny", tmp_path / "model")
    file = folder / "model.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    serve(load=load_engine, model=str(folder))
    robot.status("model", lambda status: values(status)["weights_sha256"] == digest)
    file.write_bytes(file.read_bytes()[::-1])
    status = robot.status("model", lambda status: status.level == b"\1")
    assert "changed on disk" in status.message


def test_a_call_while_the_model_is_loaded_is_told_so(serve, robot, model):
    loading, loaded = threading.Event(), threading.Event()

    def load(parameters):
        loading.set()
        loaded.wait(60)
        return model

    node = serve(active=False, load=load)
    configuring = threading.Thread(target=node.trigger_configure)
    configuring.start()
    try:
        loading.wait(60)
        response = robot.call("locate", text="the mug")
        assert response.error == Code.INACTIVE
        assert "still loading" in response.message
        assert "loading the model" in robot.status("model").message
    finally:
        loaded.set()
        configuring.join()
    assert "still loading" not in robot.call("locate", text="the mug").message


def test_deactivated_it_hears_nothing_and_activated_again_it_goes_on(serve, robot):
    node = serve(command="the mug")
    robot.show()
    robot.wait("grounding")
    node.trigger_deactivate()
    node.trigger_activate()
    since = len(robot.heard["grounding"])
    sent = robot.show()
    assert robot.wait("grounding", since=since).header == sent.header
    node.trigger_deactivate()
    node.trigger_cleanup()
    assert node._model is None


# Log and health.


def test_the_log_names_topics_and_commands(serve, capfd):
    node = serve(cameras=["left"], command="the mug")
    node.set_parameters([Parameter("command", value="the bowl")])
    node.set_parameters([Parameter("command", value="")])
    log = capfd.readouterr().err
    [line] = [line for line in log.splitlines() if "active: reads " in line and "inactive" not in line]
    for topic in ("/left/image", "/left/depth/image", "/grounding/command", "/grounding/left/detections_3d"):
        assert topic in line
    assert "command 1: 'the mug'" in log
    assert "command 2: 'the bowl'" in log
    assert "the command was withdrawn" in log


def test_a_camera_that_is_silent_is_in_the_log_once(serve, robot, monkeypatch, capfd):
    monkeypatch.setattr("kosmos2_ros.diagnostics.SILENCE_S", 0.6)
    serve()
    for _ in range(4):
        robot.status("camera")
    robot.show()
    robot.status("camera", lambda status: "arrive" in status.message)
    log = capfd.readouterr().err
    assert log.count("no image on /image for") == 1
    assert "no publisher on /image" in log


def test_diagnostics_say_what_is_wrong(serve, robot, model):
    serve(command="the mug", hang_timeout_s=0.3)
    assert "no publisher" in robot.status("camera").message
    robot.show()
    assert robot.status("camera", lambda status: "arrive" in status.message).level == b"\0"
    stale = robot.status("camera", lambda status: "stale" in status.message)
    assert values(stale)["processed"] == "1"
    model.open = False
    robot.show()
    hung = robot.status("model", lambda status: status.level == b"\2")
    assert "not answered" in hung.message
    assert robot.call("locate", text="the mug").error == Code.BUSY


def test_a_camera_whose_qos_does_not_match_is_named(serve, robot):
    serve(command="the mug", **{"qos_overrides./image.subscription.reliability": "reliable"})
    robot.node.create_publisher(Image, "/image", rclpy.qos.qos_profile_sensor_data)
    status = robot.status("camera", lambda status: "incompatible QoS" in status.message)
    assert "reliability" in status.message


def test_calls_one_after_the_other_need_few_threads(serve, robot):
    serve(active=False)
    for _ in range(60):
        assert robot.call("locate", text="the mug").error == Code.INACTIVE
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("kosmos2-call")]
    assert len(threads) < 20
