"""4.1: crash points are armed by a harness alone; unarmed they do nothing."""

from pathlib import Path

from streams.gateways.crash_points import ArmedCrashPoints, Happening, arm, disarm, reached
from streams.ports.process import NO_CRASH_POINTS, Point


def test_given_no_arm_then_every_point_is_passed(tmp_path: Path) -> None:
    for points in (NO_CRASH_POINTS, ArmedCrashPoints(tmp_path)):
        for point in Point:
            points.reach(point)
    assert not reached(tmp_path)


def test_given_an_armed_point_then_the_first_process_there_takes_it_and_no_other(tmp_path: Path) -> None:
    one, other = ArmedCrashPoints(tmp_path), ArmedCrashPoints(tmp_path)
    arm(tmp_path, Point.HALF_WRITTEN, Happening.TELL)
    one.reach(Point.BEFORE_INTENT)
    assert not reached(tmp_path)
    one.reach(Point.HALF_WRITTEN)
    assert reached(tmp_path)
    arm(tmp_path, Point.BEFORE_INTENT, Happening.TELL)
    assert not reached(tmp_path)
    other.reach(Point.HALF_WRITTEN)
    disarm(tmp_path)
    one.reach(Point.BEFORE_INTENT)
    assert not reached(tmp_path)
