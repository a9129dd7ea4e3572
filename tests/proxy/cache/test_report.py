"""What the cache says of itself: the names that the API's JSON has."""

import orjson

from proxy.cache.report import MeaningReport, Point, WrongRate


def test_a_report_can_be_written_as_it_is_read() -> None:
    rate = WrongRate(rate=0.01, low=0.002, high=0.03, labels=300)
    point = Point(score=0.9, served=0.4, wrong=0.01, low=0.002, high=0.03, labels=300)
    report = MeaningReport(
        state="shadow",
        embedder="minilm",
        entries=7,
        labels=300,
        quarantined=1,
        wrong=rate,
        thresholds={"0.01": None, "0.05": 0.9},
        curve=[point],
        shadow_requests=12,
        shadow_nanousd=34,
        certified=False,
    )
    told = report._replace(wrong=rate._asdict(), curve=[point._asdict()])._asdict()
    assert orjson.loads(orjson.dumps(told)) == {
        "state": "shadow",
        "embedder": "minilm",
        "entries": 7,
        "labels": 300,
        "quarantined": 1,
        "wrong": {"rate": 0.01, "low": 0.002, "high": 0.03, "labels": 300},
        "thresholds": {"0.01": None, "0.05": 0.9},
        "curve": [
            {
                "score": 0.9,
                "served": 0.4,
                "wrong": 0.01,
                "low": 0.002,
                "high": 0.03,
                "labels": 300,
            }
        ],
        "shadow_requests": 12,
        "shadow_nanousd": 34,
        "certified": False,
    }


def test_without_labels_there_is_no_rate() -> None:
    assert WrongRate(None, None, None, 0)._asdict() == {
        "rate": None,
        "low": None,
        "high": None,
        "labels": 0,
    }
