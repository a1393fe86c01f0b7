"""Whether `ray job submit` started this process, and under which id."""

import json
import os

_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def in_submitted_job() -> bool:
    """Whether `ray job submit` started this process, in a copy of the working directory that does not last."""
    return _JOB_VARIABLE in os.environ


def submission_id() -> str:
    """The id under which `ray job submit` started this process; empty where something else did."""
    return json.loads(os.environ.get(_JOB_VARIABLE, "{}")).get("metadata", {}).get("job_submission_id", "")
