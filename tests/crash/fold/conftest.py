from tests.crash.fold.fixtures import make_rig

__all__ = ["make_rig"]
