"""The node `grounding`: camera and command in, boxes that a planner can use out.

unconfigured -> configure (loads the model, warms up) -> inactive -> activate (listens to the cameras,
starts the worker) -> active -> deactivate -> inactive -> cleanup (frees the memory) -> unconfigured.

A frame's way: camera.py stores it, worker.py grounds it, `_publish` here sends what was found.
"""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray
from kosmos2.action import Converse
from kosmos2.srv import Ask, Describe, Locate
from rcl_interfaces.msg import SetParametersResult
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_msgs.msg import String

from kosmos2_core.drawing import draw
from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError
from kosmos2_core.requests import Locate as LocateRequest
from kosmos2_io.encodings import to_rgb
from kosmos2_ros.bridge import fallback
from kosmos2_ros.camera import Camera
from kosmos2_ros.codes import QueryError
from kosmos2_ros.converse import Conversation
from kosmos2_ros.guard import guarded, report
from kosmos2_ros.health import Health
from kosmos2_ros.markers import markers
from kosmos2_ros.options import FIXED, Options, defaults, descriptor, options_of
from kosmos2_ros.queries import Queries, Session
from kosmos2_ros.replies import Replies
from kosmos2_ros.ros_messages import ROS
from kosmos2_ros.spatial import Spatial
from kosmos2_ros.tf import Transforms, transforms_of
from kosmos2_ros.worker import Command, Limits, Model, Result, Worker

NAME = "grounding"
STOP_S = 1.0  # for the worker to end
DIAGNOSED_S = 0.5
NEWEST = 1  # depth of the command topic: an older command that was not heard yet is of no use
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

Load = Callable[[Options], Model]


def load_engine(options: Options) -> Model:
    return Engine.load(options.model, options.device, options.dtype, options.revision or None)


class GroundingNode(LifecycleNode):
    """load: makes the model at configure; another one in tests."""

    def __init__(self, load: Load = load_engine, **node: Any) -> None:
        super().__init__(NAME, **node)
        self._load = load
        self.options = self._declare()
        self._model: Model | None = None
        self._cameras: dict[str, Camera] = {}
        self._session: Session | None = None
        self._transforms: Transforms | None = None
        self._state = "unconfigured"
        self._commands = itertools.count(1)
        self._changing = threading.Lock()  # of the state
        self._taking = threading.Lock()  # of parameters, which come by a service and with commands
        self._read = fallback()
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._take_parameters)
        self._serve()
        self._watch()

    # What is there in every state.

    def _declare(self) -> Options:
        values = {
            name: self.declare_parameter(name, default, descriptor(name)).value
            for name, default in defaults().items()
        }
        return options_of(values)

    def _serve(self) -> None:
        """Services answer in every state, if only that the node is not active."""
        calls = ReentrantCallbackGroup()
        queries = Queries(lambda: self.options, lambda: self._session, self.get_logger(), self._read)
        for kind, name, answer in (
            (Locate, "~/locate", queries.locate),
            (Describe, "~/describe", queries.describe),
            (Ask, "~/ask", queries.ask),
        ):
            self.create_service(kind, name, answer, callback_group=calls)
        self._converse = ActionServer(
            self,
            Converse,
            "~/converse",
            Conversation(queries).execute,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=calls,
        )
        heard = guarded(self.get_logger(), self._hear_command)
        self.create_subscription(
            String, "~/command", heard, NEWEST, callback_group=MutuallyExclusiveCallbackGroup()
        )

    def _watch(self) -> None:
        self._health = Health(self.get_fully_qualified_name())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time can stand still
        self.create_timer(
            DIAGNOSED_S,
            lambda: guarded(self.get_logger(), self._diagnose)(None),
            MutuallyExclusiveCallbackGroup(),
            steady,
        )
        backwards = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jumps = self.get_clock().create_jump_callback(backwards, post_callback=self._forget_transforms)

    # Transitions. An exception in one would vanish: each is logged, and the transition fails.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition(self._configure, "inactive", self._clean_up)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition(self._activate, "active", self._deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition(self._deactivate, "inactive")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition(self._free, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition(self.close, "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition(self.close, "unconfigured")

    def _transition(
        self, change: Callable[[], None], state: str, back: Callable[[], None] = lambda: None
    ) -> TransitionCallbackReturn:
        """back: undoes a change that failed half-way."""
        with self._changing:
            try:
                change()
            except Exception as error:  # the border of the node
                report(self.get_logger(), error)
                back()
                return FAILURE
            self._state = state
            self.get_logger().info(f"{state}")
            return SUCCESS

    def _configure(self) -> None:
        options = self.options
        self.get_logger().info(f"loading {options.model} ...")
        model = self._load(options)
        blank = np.zeros((64, 64, 3), np.uint8)
        model.run([([blank], LocateRequest("the object", min_presence=0.0))])  # warm up, boxes too
        self._model = model
        self._transforms = transforms_of(self)
        self._transforms.listen()
        for name in options.cameras:
            camera = self._cameras[name] = Camera(self, name, options, self._read)
            camera.advertise()

    def _activate(self) -> None:
        assert self._model is not None
        assert self._transforms is not None
        with self._taking:  # or a change on the way is lost
            worker = self._make_session(self._model, self._transforms)
        worker.start()
        for camera in self._cameras.values():
            camera.listen(worker.put)

    def _make_session(self, model: Model, transforms: Transforms) -> Worker:
        options = self.options
        revision = f"@{options.revision}" if options.revision else ""
        spatial = Spatial(self._cameras, transforms, lambda: self.options)
        worker = Worker(
            model,
            {name: camera.mailbox for name, camera in self._cameras.items()},
            publish=self._publish,
            to_rgb=lambda message: to_rgb(message, self._read),
            now_ns=self._now_ns,
            report=lambda error: report(self.get_logger(), error),
            limits=limits_of(options),
            look=spatial.expect,
        )
        self._session = Session(worker, Replies(options.model + revision, spatial, self._now_ns))
        self._take_command()
        return worker

    def _deactivate(self) -> None:
        session, self._session = self._session, None
        if session and not session.worker.stop(STOP_S):
            self.get_logger().warning("the model is still at work: its last answer is dropped")
        for camera in self._cameras.values():
            camera.silence()

    def _clean_up(self) -> None:
        for camera in self._cameras.values():
            camera.destroy()
        self._cameras = {}
        if self._transforms:
            self._transforms.destroy()
        self._transforms = self._model = None

    def _free(self) -> None:
        """Clean up, and give the memory back, which takes a while."""
        self._clean_up()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def close(self) -> None:
        """From any state."""
        self._deactivate()
        self._clean_up()

    # Parameters, changed as one set, and the command.

    def _check_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            options_of(vars(self.options) | {one.name: one.value for one in parameters})
        except (InputError, TypeError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        fixed = [one.name for one in parameters if one.name in FIXED]
        if fixed and (self._state != "unconfigured" or self._changing.locked()):
            reason = f"{', '.join(fixed)}: read when the node is configured, so clean it up first."
            return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _take_parameters(self, parameters: list[Parameter]) -> None:
        with self._taking:
            before = self.options
            self.options = options_of(vars(before) | {one.name: one.value for one in parameters})
            if session := self._session:
                session.worker.limits = limits_of(self.options)
            if self.options.request() != before.request():
                self._take_command()

    def _hear_command(self, message: String) -> None:
        """Set the parameter `command`. Planners publish the same command again and again: that changes
        nothing."""
        if message.data == self.options.command:
            return
        [result] = self.set_parameters([Parameter("command", value=message.data)])
        if not result.successful:
            self.get_logger().warning(f"the command is not taken: {result.reason}")

    def _take_command(self) -> None:
        if session := self._session:
            request = self.options.request()
            session.worker.command = Command(str(next(self._commands)), request) if request else None

    # Results.

    def _publish(self, result: Result) -> None:
        """In the worker's thread."""
        session, command = self._session, result.command
        if session is None or command is None:
            return
        camera = self._cameras[result.frame.camera]
        camera.detections.publish(session.replies.detections(result, command.id))
        camera.grounding.publish(session.replies.frame(result, command.id))
        self._publish_3d(session, camera, result, command.id)
        if self.options.annotate and camera.annotated.get_subscription_count():
            picture = draw(result.pixels, result.answer.phrases, missing=True)
            camera.annotated.publish(ROS.image(result.frame.message.header, picture))

    def _publish_3d(self, session: Session, camera: Camera, result: Result, name: str) -> None:
        seen = self.options.annotate and camera.markers.get_subscription_count()
        if not seen and not camera.detections_3d.get_subscription_count():
            return
        try:
            found = session.replies.detections_3d(result, name, session.replies.placed(result))
        except QueryError as error:  # the camera may have no depth at all
            self.get_logger().debug(str(error))
            return
        camera.detections_3d.publish(found)
        if seen:
            camera.markers.publish(markers(found))

    # Time and health.

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _forget_transforms(self, jump: Any) -> None:
        if self._transforms:
            self._transforms.clear()

    def _threshold(self) -> float:
        """The presence threshold in force: the parameter's, or the checkpoint's; NaN without a model."""
        given = self.options.min_presence
        return given if given >= 0 else float(getattr(self._model, "min_presence", "nan"))

    def _diagnose(self, _: object) -> None:
        head = ROS.header(self._now_ns(), "")
        about = {
            "model": self.options.model,
            "device": str(getattr(self._model, "device", "none")),
            "min_presence": self._threshold(),
        }
        worker = self._session.worker if self._session else None
        cameras = list(self._cameras.values())
        self._diagnostics.publish(self._health.report(head, self._state, about, worker, cameras))


def limits_of(options: Options) -> Limits:
    return Limits(
        max_age_ns=int(options.max_frame_age_s * 1e9),
        max_rate_hz=options.max_rate_hz,
        queue_size=options.query_queue_size,
        hang_s=options.query_timeout_s,
    )
