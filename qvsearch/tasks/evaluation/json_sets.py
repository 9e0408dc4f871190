"""Retrieval sets in one JSON file: captions of COCO, Karpathy's split, SQuAD and VQAv2."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qvsearch.errors import QvsearchError
from qvsearch.tasks.evaluation.set_files import MediaFolder, load_json, words
from qvsearch.tasks.evaluation.sets import Entry, RetrievalSet
from qvsearch.tasks.inputs import TaskInput
from qvsearch.types import Skipped

Object = Mapping[str, Any]
KARPATHY_SPLIT = "test"


def read_json(path: Path, media: Path, split: str | None) -> RetrievalSet:
    """Return the set of a JSON file; raises QvsearchError for an unknown form."""
    match load_json(path):
        case {"images": list(images), "annotations": list(annotations)}:
            return _read_coco(path, images, annotations, MediaFolder(media))
        case {"images": list(images)}:
            return _read_karpathy(path, images, MediaFolder(media), split or KARPATHY_SPLIT)
        case {"data": list(articles)}:
            return _read_squad(path, articles)
    raise QvsearchError(
        f"{path} is in an unknown form; give captions of COCO (images, annotations), Karpathy's"
        " split (images with sentences), or SQuAD (data)"
    )


@dataclass(slots=True)
class _Builder:
    """A set while its file is read; a wrong object is left out, and named."""

    path: Path
    queries: dict[str, Entry] = field(default_factory=dict)
    documents: dict[str, Entry] = field(default_factory=dict)
    relevant: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: list[Skipped] = field(default_factory=list)

    def skip(self, what: str, reason: str) -> None:
        self.left_out.append(Skipped(os.fsencode(f"{what} of {self.path.name}"), reason))

    def document(self, name: str, source: TaskInput) -> None:
        if name in self.documents:
            raise QvsearchError(f"the id {name!r} is there already")
        self.documents[name] = Entry(name, source)

    def query(self, name: str, source: TaskInput, document: str) -> None:
        if name in self.queries:
            raise QvsearchError(f"the id {name!r} is there already")
        self.queries[name] = Entry(name, source)
        self.relevant[name] = {document: 1}

    def build(self) -> RetrievalSet:
        return RetrievalSet(
            self.path.stem,
            tuple(self.queries.values()),
            tuple(self.documents.values()),
            self.relevant,
            left_out=tuple(self.left_out),
        )


def _read_coco(
    path: Path, images: Iterable[Object], annotations: Iterable[Object], files: MediaFolder
) -> RetrievalSet:
    """Captions look for their images (`captions_val2017.json`, Chen et al. 2015)."""
    built = _Builder(path)
    for number, image in enumerate(images):
        what = f"images[{number}]"
        try:
            built.document(_id(image, "id"), files.input(_text(image, "file_name")))
        except QvsearchError as error:
            built.skip(what, str(error))
    for number, each in enumerate(annotations):
        what = f"annotations[{number}]"
        try:
            image_id = _id(each, "image_id")
            if image_id not in built.documents:
                built.skip(what, f"there is no image {image_id!r}; it counts as not found")
            source = words(what, _text(each, "caption"))
            built.query(_id(each, "id"), source, image_id)
        except QvsearchError as error:
            built.skip(what, str(error))
    return built.build()


def _read_karpathy(
    path: Path, images: Iterable[Object], files: MediaFolder, split: str
) -> RetrievalSet:
    """Sentences look for their images (`dataset_coco.json`, Karpathy and Fei-Fei 2015)."""
    built = _Builder(path)
    splits = set()
    for number, image in enumerate(images):
        what = f"images[{number}]"
        try:
            splits.add(_text(image, "split"))
            if image["split"] != split:
                continue
            name = _text(image, "filename")
            built.document(name, files.input(name, str(image.get("filepath") or "")))
            sentences = _list(image, "sentences") if image.get("sentences") else ()
            for place, sentence in enumerate(sentences):
                text = _text(sentence, "raw")
                built.query(f"{name} {place}", words(f"{what} sentence {place}", text), name)
        except QvsearchError as error:
            built.skip(what, str(error))
    if split not in splits:
        there = ", ".join(sorted(splits)) or "none"
        raise QvsearchError(f"{path} has no images of --split {split}; there are: {there}")
    return built.build()


def _read_squad(path: Path, articles: Iterable[Object]) -> RetrievalSet:
    """Questions look for their contexts (`dev-v1.1.json`, Rajpurkar et al. 2016).

    A question that the context does not answer (v2.0) is left out.
    """
    built = _Builder(path)
    contexts: dict[str, str] = {}
    unjudged = 0
    for number, article in enumerate(articles):
        try:
            paragraphs = _list(article, "paragraphs")
        except QvsearchError as error:
            built.skip(f"data[{number}]", str(error))
            continue
        for place, paragraph in enumerate(paragraphs):
            what = f"data[{number}].paragraphs[{place}]"
            try:
                context = _text(paragraph, "context")
                name = contexts.setdefault(context, f"context {len(contexts)}")
                if name not in built.documents:
                    built.document(name, words(what, context))
                for question in _list(paragraph, "qas"):
                    if isinstance(question, Mapping) and question.get("is_impossible"):
                        unjudged += 1
                        continue
                    source = words(what, _text(question, "question"))
                    built.query(_id(question, "id"), source, name)
            except QvsearchError as error:
                built.skip(what, str(error))
    return replace(built.build(), unjudged=unjudged)


def read_vqa(folder: Path, questions: list[Path], media: Path, split: str | None) -> RetrievalSet:
    """Return the set in which an image with a question looks for the answer (VQAv2's files).

    Documents are all answers (`multiple_choice_answer`). Images have the names of COCO's files.
    """
    chosen = [each for each in questions if split is None or split in each.name]
    if len(chosen) != 1:
        names = ", ".join(each.name for each in questions)
        raise QvsearchError(f"{folder} has the questions {names}; choose with --split val2014")
    answers_path = _annotations_of(folder, chosen[0])
    source, answered = load_json(chosen[0]), load_json(answers_path)
    subtype = source.get("data_subtype", "") if isinstance(source, dict) else ""
    built, files, unjudged = _Builder(chosen[0]), MediaFolder(media), 0
    answers = {}
    for number, each in enumerate(_listed(answers_path, answered, "annotations")):
        try:
            name = _id(each, "question_id")
            answers[name] = _text(each, "multiple_choice_answer")
        except QvsearchError as error:
            where = os.fsencode(f"annotations[{number}] of {answers_path.name}")
            built.left_out.append(Skipped(where, str(error)))
    for answer in dict.fromkeys(answers.values()):
        built.document(answer, words(answers_path.name, answer))
    for number, question in enumerate(_listed(chosen[0], source, "questions")):
        what = f"questions[{number}]"
        try:
            name = _id(question, "question_id")
            if name not in answers:
                unjudged += 1
                continue
            stem = f"COCO_{subtype}_{int(_id(question, 'image_id')):012}"
            both = replace(files.input(stem, subtype), text=_text(question, "question"))
            built.query(name, both, answers[name])
        except (QvsearchError, ValueError) as error:
            built.skip(what, str(error))
    return replace(built.build(), name=folder.name, unjudged=unjudged)


def _annotations_of(folder: Path, questions: Path) -> Path:
    found = sorted(folder.glob("*annotations.json"))
    matching = [each for each in found if each.name.split("_")[-2:][0] in questions.name]
    if len(matching) != 1:
        raise QvsearchError(f"{folder} has no annotations of {questions.name}")
    return matching[0]


def _text(source: object, key: str) -> str:
    value = source.get(key) if isinstance(source, Mapping) else None
    if not isinstance(value, str) or not value.strip():
        raise QvsearchError(f"it has no {key}")
    return value.strip()


def _id(source: object, key: str) -> str:
    value = source.get(key) if isinstance(source, Mapping) else None
    if not isinstance(value, (str, int)):
        raise QvsearchError(f"it has no {key}")
    return str(value)


def _list(source: object, key: str) -> list[Any]:
    value = source.get(key) if isinstance(source, Mapping) else None
    if not isinstance(value, list):
        raise QvsearchError(f"there is no list of {key}")
    return value


def _listed(path: Path, source: object, key: str) -> list[Any]:
    """Return a list at the top of a file; raises QvsearchError, with the file, if it has none."""
    try:
        return _list(source, key)
    except QvsearchError as error:
        raise QvsearchError(f"{path}: {error}") from error
