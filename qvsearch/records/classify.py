"""Records that `classify --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qvsearch.formats import path_fields, present, rounded
from qvsearch.types import skipped_fields

if TYPE_CHECKING:
    from qvsearch.tasks.labelling.classify import Candidate, Labelled
    from qvsearch.tasks.labelling.examples import ExampleClassifier, Validation
    from qvsearch.tasks.labelling.sidecars import Sidecar
    from qvsearch.tasks.labelling.truth import Agreement
    from qvsearch.types import Skipped


def labelled_record(
    result: Labelled, sidecar: Sidecar | None = None, links: Sequence[tuple[Path, bool]] = ()
) -> dict[str, object]:
    """Return a file of `classify --json`, one a line; a summary is the last line.

    path, path_b64 (string): absolute path
    text (string): the words, instead of a path
    kind (string): `image`, `video`, `text` or `document`
    label (string): the label; absent if the file is left without one
    labels (list of strings): all labels, best first; several only with `--multi`
    score (number, 0 to 1): share of the best label among all of them, which sum to 1
    relevance (number, 0 to 1): probability that the file answers the words of the best label, as in
        `search`; with `--unsure` or `--multi`, but not with `--examples`
    others (list of objects): the next four labels: `label`, `score`, and `relevance`
    sidecar, sidecar_b64 (string): `.xmp` file with the keywords; with `--sidecar`
    added (list of strings): keywords that it lacked
    links (list of objects): links to the file as `path` or `path_b64`; with `--link-to`
    """
    best, *others = result.candidates
    beside = {} if sidecar is None else path_fields("sidecar", sidecar.path)
    made = [path_fields("path", bytes(path)) for path, _ in links]
    return present(
        {
            **path_fields("path" if result.is_file else "text", result.name),
            "kind": result.kind.value,
            "label": result.label,
            "labels": list(result.labels),
            "score": round(best.score, 6),
            "relevance": rounded(best.relevance),
            "others": [_candidate_record(each) for each in others],
            **beside,
            "added": None if sidecar is None else list(sidecar.added),
            "links": made or None,
        }
    )


def _candidate_record(candidate: Candidate) -> dict[str, object]:
    """Return one of the `others` of a file.

    label (string): the label
    score (number, 0 to 1): its share
    relevance (number, 0 to 1): relevance of its words
    """
    relevance = rounded(candidate.relevance)
    score = round(candidate.score, 6)
    return present({"label": candidate.label, "score": score, "relevance": relevance})


def labels_record(
    counts: dict[str, int],
    unsure: int,
    classifier: ExampleClassifier | None,
    agreed: Agreement | None,
    skipped: Sequence[Skipped],
) -> dict[str, object]:
    """Return the last line of `classify --json`, a summary.

    counts (object): number of files for each label
    unsure (integer): number of files without a label
    skipped (list of objects): inputs, examples, sidecars and links that failed, as `path` or
        `path_b64`, each with the `reason`
    classifier (string): classifier that was chosen; with `--examples`
    folds (integer): parts of the cross-validation; 0 if there were too few examples
    validations (list of objects): `classifier`, `accuracy` and `macro_f1` of each in the
        cross-validation
    scored (integer): number of files with a true label; with `--truth`
    accuracy (number, 0 to 1): share of these whose labels are the true ones
    macro_f1 (number, 0 to 1): mean of the labels' F1
    """
    record: dict[str, object] = {
        "counts": counts,
        "unsure": unsure,
        "skipped": skipped_fields(skipped),
    }
    if classifier is not None:
        record |= {
            "classifier": classifier.name,
            "folds": classifier.folds,
            "validations": [_validation_record(each) for each in classifier.validations],
        }
    if agreed is not None:
        record |= {
            "scored": agreed.scores.files,
            "accuracy": round(agreed.scores.accuracy, 6),
            "macro_f1": round(agreed.scores.macro_f1, 6),
        }
    return record


def _validation_record(validation: Validation) -> dict[str, object]:
    """Return one of the `validations` of a classifier.

    classifier (string): `nearest centroid` or `logistic regression`
    accuracy (number, 0 to 1): share of held-out examples with the true label
    macro_f1 (number, 0 to 1): mean of the labels' F1
    """
    return {
        "classifier": validation.classifier,
        "accuracy": round(validation.scores.accuracy, 6),
        "macro_f1": round(validation.scores.macro_f1, 6),
    }
