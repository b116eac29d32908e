from streams.gateways.faust.process import run_fold
from streams.gateways.faust.shard import FoldObserver

__all__ = ["FoldObserver", "run_fold"]
