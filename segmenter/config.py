"""The settings of every command, each model beside the code that reads it; nothing heavy is imported here.

    train                  segmenter/training/config.py      TrainConfig, with LossConfig and AugmentConfig
                           segmenter/networks/config.py      NetworkConfig, with a block for each network
    predict, pseudo-label  segmenter/inference/config.py     PredictConfig, PseudoLabelConfig
    export                 segmenter/inference/config.py     ExportConfig
    evaluate               segmenter/evaluation/config.py    EvaluateConfig
    compare, report        segmenter/results/                CompareConfig, ReportConfig
    study                  segmenter/study/config.py         StudyConfig

`segmenter settings COMMAND` prints them.
"""

from segmenter.evaluation.config import EvaluateConfig
from segmenter.inference.config import ExportConfig, InferenceConfig, PredictConfig, PseudoLabelConfig
from segmenter.networks.config import EncoderConfig, MarsSegConfig, NetworkConfig, UNetConfig
from segmenter.training.config import AugmentConfig, LossConfig, TrainConfig

__all__ = [
    "AugmentConfig",
    "EncoderConfig",
    "EvaluateConfig",
    "ExportConfig",
    "InferenceConfig",
    "LossConfig",
    "MarsSegConfig",
    "NetworkConfig",
    "PredictConfig",
    "PseudoLabelConfig",
    "TrainConfig",
    "UNetConfig",
]
