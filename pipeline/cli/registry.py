"""What commands call, imported when it is called: help and mistakes in options are answered at once."""

from typing import TYPE_CHECKING, Final

from pipeline.core.late_import import late_import

if TYPE_CHECKING:
    from pipeline.cli.faults import fault_sentence
    from pipeline.cli.text import inspection_words, plan_record, plan_words, report_words
    from pipeline.config.record import parse_record
    from pipeline.config.schema import OutputConfig, load_prediction
    from pipeline.jobs.config import load_config
    from pipeline.jobs.demo import run_demo
    from pipeline.jobs.inspect import inspect_scene
    from pipeline.jobs.outputs import OutputPaths
    from pipeline.jobs.predict import predict
    from pipeline.jobs.run import check_outputs, fit_config, plan_config, run_config
    from pipeline.jobs.template import config_template
    from pipeline.models.base import ClusterModel
    from pipeline.sinks.staging import keep_apart

__all__ = [
    "ClusterModel",
    "OutputConfig",
    "OutputPaths",
    "check_outputs",
    "config_template",
    "fault_sentence",
    "fit_config",
    "inspect_scene",
    "inspection_words",
    "keep_apart",
    "load_config",
    "load_prediction",
    "parse_record",
    "plan_config",
    "plan_record",
    "plan_words",
    "predict",
    "report_words",
    "run_config",
    "run_demo",
]

_HOMES: Final = {
    "ClusterModel": "pipeline.models.base:ClusterModel",
    "OutputConfig": "pipeline.config.schema:OutputConfig",
    "OutputPaths": "pipeline.jobs.outputs:OutputPaths",
    "check_outputs": "pipeline.jobs.run:check_outputs",
    "config_template": "pipeline.jobs.template:config_template",
    "fault_sentence": "pipeline.cli.faults:fault_sentence",
    "fit_config": "pipeline.jobs.run:fit_config",
    "inspect_scene": "pipeline.jobs.inspect:inspect_scene",
    "inspection_words": "pipeline.cli.text:inspection_words",
    "keep_apart": "pipeline.sinks.staging:keep_apart",
    "load_config": "pipeline.jobs.config:load_config",
    "load_prediction": "pipeline.config.schema:load_prediction",
    "parse_record": "pipeline.config.record:parse_record",
    "plan_config": "pipeline.jobs.run:plan_config",
    "plan_record": "pipeline.cli.text:plan_record",
    "plan_words": "pipeline.cli.text:plan_words",
    "predict": "pipeline.jobs.predict:predict",
    "report_words": "pipeline.cli.text:report_words",
    "run_config": "pipeline.jobs.run:run_config",
    "run_demo": "pipeline.jobs.demo:run_demo",
}
"""Module and name of each function or class."""

__getattr__ = late_import(__name__, _HOMES)
