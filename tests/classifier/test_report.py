"""The report of a run on images shows the test: the tasks, one with its answers, and the training."""

from pathlib import Path

import numpy as np

from nasmeta.reporting.pages.report import write_report
from nasmeta.run.per_task import PerTask
from nasmeta.trained.classifier import FewShotClassifier
from tests.reporting.stored_runs import Page, check_self_contained, summary_of


def test_the_page_shows_a_test_task(protonet: Path, tmp_path: Path) -> None:
    page = Page(write_report(protonet, tmp_path / "page.html", trusted=False))
    check_self_contained(page)
    shown = [str(attrs["alt"]) for tag, attrs in page.tags if tag == "img"]
    assert "how the test tasks went" in shown
    assert "how the networks learned" in shown
    support = [text for text in shown if text.startswith("class ") and "%" not in text]
    assert support == ["class 1", "class 1", "class 2", "class 2", "class 3", "class 3"], "3-way 2-shot"
    answers = [
        float(text.split(", ")[1].removesuffix("\N{NO-BREAK SPACE}%"))
        for text in shown
        if text.startswith("class ") and "%" in text
    ]
    assert len(answers) == 9, "3 queries of each class"
    assert answers == sorted(answers, reverse=True)
    told = page.text.count("right") + page.text.count("wrong: class")
    assert told >= 9
    assert summary_of(protonet)["best"]["test_tasks"] > 0


def test_the_answers_shown_are_those_of_the_classifier(running: Path) -> None:
    found = PerTask.load(running / "test.pt")
    assert found is not None
    episode = found.episode
    assert episode is not None
    support, query = (list(images.transpose(0, 2, 3, 1)) for images in (episode.support, episode.query))
    classifier = FewShotClassifier(running).fit(support, episode.support_y.tolist())
    assert abs(classifier.temperature - 1) > 1e-3, "else a forgotten temperature would not show"
    assert np.allclose(classifier.predict_proba(query), episode.probabilities, atol=1e-5)
