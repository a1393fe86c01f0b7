import pytest

from pipeline.storage.submitted_job import in_submitted_job, submission_id


def test_a_process_of_its_own_is_no_submitted_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (in_submitted_job(), submission_id()) == (False, "")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"metadata": {"job_submission_id": "nightly"}}')
    assert (in_submitted_job(), submission_id()) == (True, "nightly")
