from streams.gateways.faust.checkpoint import Checkpoint
from streams.gateways.faust.process import run_fold
from streams.gateways.faust.recover import RecoveredShard, recover_shard
from streams.gateways.faust.shard import FoldObserver

__all__ = ["Checkpoint", "FoldObserver", "RecoveredShard", "recover_shard", "run_fold"]
