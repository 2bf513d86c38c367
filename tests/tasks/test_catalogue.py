"""What the catalogue says of benchmarks whose tasks are means of others."""

from __future__ import annotations

from workflow_scripts.evaluation.mteb_tasks import new_task, tasks_of
from workflow_scripts.study.catalogue import spelled_out, task_catalogue


def test_a_benchmark_is_all_its_tasks_the_twelve_forums_of_an_aggregate_too() -> None:
    members = spelled_out(["MTEB(eng, v1)"])
    forums = [name for name in members if "aggregate" in task_catalogue()[name]]
    assert len(members) == 55 + 12, "56 tasks, of which one is the mean of twelve"
    assert len(forums) == 12
    assert spelled_out(["CQADupstackRetrieval"]) == forums
    assert set(members) == {task.metadata.name for task, _ in tasks_of("MTEB(eng, v1)")}


def test_a_forum_of_two_benchmarks_names_both() -> None:
    gaming = task_catalogue()["CQADupstackGamingRetrieval"]
    assert gaming["benchmarks"] == ["MTEB(eng, v1)", "MTEB(eng, v2)"]
    assert gaming["aggregate"] == {"name": "CQADupstackRetrieval", "benchmarks": ["MTEB(eng, v1)"]}
    assert "aggregate" not in task_catalogue()["SciFact"]


def test_a_member_of_an_aggregate_is_a_task_of_its_own() -> None:
    task = new_task("CQADupstackTexRetrieval")
    assert task.metadata.name == "CQADupstackTexRetrieval"
    assert (task.hf_subsets, list(task.eval_splits)) == (["default"], ["test"])


def test_a_tasks_size_is_that_of_the_subsets_and_splits_that_are_scored() -> None:
    task = new_task("STS17")
    assert (task.hf_subsets, list(task.eval_splits)) == (["en-en"], ["test"])
    assert task_catalogue()["STS17"]["texts"] == 2 * 250, "250 pairs of the 2,000 in eight pairs of languages"
    assert task_catalogue()["MassiveScenarioClassification"]["texts"] < 6_000
