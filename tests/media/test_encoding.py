"""Texts that are not UTF-8: read as they were written, or refused."""

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvsearch.errors import MediaError
from qvsearch.media.encoding import WINDOW, to_text

CHINESE = """大家好，这是一封测试邮件。
我们明天上午十点在北京开会，请准时参加。
会议讨论新的项目计划和预算安排。
如有问题请及时联系我，谢谢大家的支持。
今年春天的花开得特别早。
我在公园里拍了许多照片。
晚上我们去吃了火锅。
希望你们一切都好。
"""
TAIWANESE = """大家好，這是一封測試郵件。
我們明天上午十點在台北開會，請準時參加。
會議討論新的項目計劃和預算安排。
今年春天的花開得特別早。
"""
RUSSIAN = """Привет всем, это пробное письмо.
Завтра в десять утра у нас собрание в Москве.
Пожалуйста, приходите вовремя.
Весной цветы распустились рано.
Вечером мы ходили в ресторан на набережной.
"""
JAPANESE = """皆さんこんにちは、これはテストメールです。
明日の午前十時に東京で会議があります。
時間通りに参加してください。
公園でたくさん写真を撮りました。
"""
KOREAN = """안녕하세요 여러분, 이것은 시험 메일입니다.
내일 오전 열 시에 서울에서 회의가 있습니다.
시간에 맞춰 참석해 주세요.
올해 봄에는 꽃이 일찍 피었습니다.
"""
GREEK = "Γεια σας, αυτό είναι ένα μήνυμα.\nΑύριο στις δέκα έχουμε συνάντηση στην Αθήνα.\n"
HEBREW = "שלום לכולם, זו הודעת ניסיון.\nמחר בעשר יש לנו פגישה בתל אביב.\nנא להגיע בזמן.\n"
ARABIC = "مرحبا بالجميع، هذه رسالة تجريبية.\nغدا في العاشرة لدينا اجتماع في القاهرة.\n"
THAI = "สวัสดีทุกคน นี่คือข้อความทดสอบ\nพรุ่งนี้สิบโมงเรามีประชุมที่กรุงเทพ\n"
UKRAINIAN = (
    "Привіт усім, це пробний лист.\nЗавтра о десятій у нас збори в Києві.\nЇжак їсть яблука.\n"
)
CZECH = """Dobrý den, toto je zkušební zpráva.
Zítra v deset hodin máme schůzku v Praze.
Příliš žluťoučký kůň úpěl ďábelské ódy.
V parku jsem udělal hodně fotografií.
"""
POLISH = """Dzień dobry, to jest wiadomość próbna.
Jutro o dziesiątej mamy spotkanie w Łodzi, proszę przyjść na czas.
Zażółć gęślą jaźń. W parku zrobiłem dużo zdjęć.
Wieczorem poszliśmy do restauracji, było bardzo miło.
"""
GERMAN = "Grüße aus München, dies ist eine Nachricht.\nMorgen früh üben wir für die Prüfung.\n"
FRENCH = (
    "Bonjour à tous, ça a été une très belle journée d’été.\nNous étions là-bas, près de l’île.\n"
)
FINNISH = "Hyvää päivää, tämä on viesti.\nHän lähti tänään töistä äärettömän väsyneenä.\n"
SPANISH = "¿Dónde están los niños? ¡Qué día más bonito!\nEl año próximo iremos mañana a España.\n"
PORTUGUESE = (
    "Não se esqueçam das lições, a estação está próxima.\nAs ações são boas: coração e mãe.\n"
)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *((CHINESE, each) for each in ("gb18030", "gbk", "gb2312", "utf-8", "utf-16")),
        *((TAIWANESE, each) for each in ("big5", "gb18030")),
        *((RUSSIAN, each) for each in ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic")),
        *((UKRAINIAN, each) for each in ("cp1251", "koi8_u")),
        *((JAPANESE, each) for each in ("shift_jis", "euc_jp", "iso2022_jp")),
        *((KOREAN, each) for each in ("euc_kr", "cp949", "johab")),
        *((GREEK, each) for each in ("cp1253", "iso8859_7")),
        *((HEBREW, each) for each in ("cp1255", "iso8859_8")),
        *((ARABIC, each) for each in ("cp1256", "iso8859_6")),
        (THAI, "cp874"),
        *((text, each) for text in (CZECH, POLISH) for each in ("cp1250", "iso8859_2")),
        *((each, "cp1252") for each in (GERMAN, FRENCH, FINNISH, SPANISH, PORTUGUESE)),
        *((each, "utf-16-le") for each in (CHINESE, RUSSIAN, GREEK, GERMAN)),  # without a mark
        *((each, "utf-16-be") for each in (CHINESE, RUSSIAN, GREEK, GERMAN)),
    ],
)
def test_a_text_is_read_as_it_was_written(text, encoding):
    assert to_text(text.encode(encoding)) == text


@pytest.mark.parametrize("text", ["Müßig\n", "Ça\n", "naïve café\n", "ÄÖÜ\n", "5 €\n"])
def test_short_texts_are_western(text):
    assert to_text(text.encode("cp1252")) == text


def cues(text):
    """Lines as subtitles."""
    lines = text.splitlines()
    return "".join(
        f"{n}\r\n00:00:{n:02},000 --> 00:00:{n + 1:02},500\r\n<i>{line}</i>\r\n\r\n"
        for n, line in enumerate(lines, 1)
    )


def table(text):
    return "id;date;text\n" + "".join(
        f'{n};2024-01-{n:02};"{line}"\n' for n, line in enumerate(text.splitlines(), 1)
    )


@pytest.mark.parametrize("form", [cues, table])
@pytest.mark.parametrize(
    ("text", "encoding"),
    [(CHINESE, "gb18030"), (RUSSIAN, "cp1251"), (JAPANESE, "shift_jis"), (KOREAN, "euc_kr")],
)
def test_forms_in_ascii_around_the_words(form, text, encoding):
    assert to_text(form(text).encode(encoding)) == form(text)


def test_letters_behind_much_ascii():
    text = "a line of ascii\n" * WINDOW + RUSSIAN
    assert to_text(text.encode("cp1251")) == text


@pytest.mark.parametrize("end", ["\r\n", "\r", " "])
def test_other_ends_of_lines(end):
    text = CHINESE.replace("\n", end) * 500
    assert to_text(text.encode("gb18030")) == text


def test_a_text_that_is_cut_within_a_character():
    assert to_text(CHINESE.encode("gb18030")[:-2]) == CHINESE.rstrip()[:-1] + "\ufffd"


def test_characters_that_another_program_could_not_read():
    text = "The caf\ufffd\ufffd and the cr\ufffd\ufffdme.\n"
    assert to_text(text.encode()) == text


def test_letters_of_no_language_are_refused():
    data = bytes(random.Random(1).choices(range(128, 256), k=2000))
    with pytest.raises(MediaError, match="unknown encoding.* save it as UTF-8"):
        to_text(data)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"the end" + bytes(5000), "the end"),
        (b"the end" + bytes(1), "the end"),
        (b"before\n" + bytes(4096) + b"\nafter\n", "before\n \nafter\n"),
        (b"one\0two\0three\0", "one two three"),  # as find -print0 writes
        (b"text with \0 one zero", "text with   one zero"),
        (RUSSIAN.encode("cp1251") + bytes(512), RUSSIAN),
        (RUSSIAN.encode("cp1251") + bytes(512) + b"\n", RUSSIAN + " \n"),
        (CHINESE.encode("utf-16") + bytes(100), CHINESE),
        (GERMAN.encode("utf-16-le") + bytes(100), GERMAN),
        (GERMAN.encode("utf-16-be") + bytes(101), GERMAN),
        (b"caf\xe9 \0 cr\xe8me", "café   crème"),
    ],
)
def test_zeros_in_a_text(data, text):
    assert to_text(data) == text


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF\2\1\1" + bytes(9) + b"\3\0>\0\1\0\0\0\xc0\x11",
        b"PK\3\4\x14\0\0\0\x08\0" + random.Random(2).randbytes(500),
        random.Random(3).randbytes(500),
        "UTF-32 without its mark".encode("utf-32-le"),
        "UTF-32 without its mark".encode("utf-32-be"),
        random.Random(4).randbytes(100_000),
        b"RIFF\x24\x08\0\0WAVEfmt \x10\0\0\0\1\0\2\0" + random.Random(5).randbytes(500),
    ],
)
def test_binary_files(data):
    with pytest.raises(MediaError, match="binary file"):
        to_text(data)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff")))
def test_every_text_of_utf8_is_read(text):
    assert to_text(text.encode()) == text


@settings(deadline=None)
@given(st.binary(max_size=500) | st.binary(max_size=50).map(lambda data: data * 20))
def test_no_bytes_are_another_error(data):
    with suppress(MediaError):
        assert "\0" not in to_text(data)
