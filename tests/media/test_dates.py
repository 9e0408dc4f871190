"""Dates as they are spelled in headers and in names."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvsearch.media.dates import date, letter_date, name_date, utc_date
from qvsearch.times import moment_taken


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("2015:08:22 10:09:08", "2015-08-22T10:09:08"),
        ("2015:08:22 24:08:19", "2015-08-22T00:08:19"),
        ("2015-08-22T10:09:08.123Z", "2015-08-22T10:09:08+00:00"),
        ("2015-08-22T10:09+0530", "2015-08-22T10:09:00+05:30"),
        ("2015-08-22T10:09:08+99:00", "2015-08-22T10:09:08"),
        ("2015.08.22 10.09.08", "2015-08-22T10:09:08"),
        ("2015:08:22 9: 8: 7", "2015-08-22T09:08:07"),
        ("2015:08:22 10h09", "2015-08-22"),
        ("20150822T100908", "2015-08-22T10:09:08"),
        ("20150822100908+0200", "2015-08-22T10:09:08+02:00"),
        ("20150822", "2015-08-22"),
        ("2015.08.22", "2015-08-22"),
        ("2015-08", "2015-08"),
        ("1985:00:00 00:00:00", "1985"),
        ("2012-02-29", "2012-02-29"),
        ("2013-02-29", "2013-02"),
        ("1200:01:01", None),
        ("0000:00:00 00:00:00", None),
        ("٢٠١٥:٠٨:٢٢", None),
        ("", None),
        (None, None),
        ((2015.0,), None),
    ],
)
def test_dates(text, taken):
    assert date(text) == taken


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("Tue, 06 May 2014 10:11:12 +0200", "2014-05-06T10:11:12+02:00"),
        ("2014-05-06", "2014-05-06"),
        ("2014:05:06 10:11:12", "2014-05-06T10:11:12"),
        ("Tue May  6 10:11:12 2014", "2014-05-06T10:11:12"),
        ("yesterday", None),
        (None, None),
    ],
)
def test_dates_of_letters(text, taken):
    found = letter_date(text)
    assert (found or "")[: len(taken or "")] == (taken or "")


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [
        ("1388534400", "2014-01-01T00:00:00+00:00"),
        (-86_400, "1969-12-31T00:00:00+00:00"),
        ("soon", None),
        (10**30, None),
        (None, None),
    ],
)
def test_seconds(seconds, taken):
    assert utc_date(seconds) == taken


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("IMG-20190704-WA0001.jpg", "2019-07-04"),
        ("VID_20240115_120000.mp4", "2024-01-15T12:00:00"),
        ("VID_20240115_120000_123.mp4", "2024-01-15T12:00:00"),
        ("Screenshot 2023-04-05 at 10.11.12.png", "2023-04-05T10:11:12"),
        ("Screen Shot 2023-04-05 at 1.11.12 PM.png", "2023-04-05T13:11:12"),
        ("Screen Shot 2023-04-05 at 12.11.12\u202fAM.png", "2023-04-05T00:11:12"),
        ("Screenshot_20230405-101112.png", "2023-04-05T10:11:12"),
        ("Screenshot_2023-04-05-10-11-12-123_com.app.jpg", "2023-04-05T10:11:12"),
        ("WhatsApp Image 2023-04-05 at 10.11.12.jpeg", "2023-04-05T10:11:12"),
        ("photo_2023-04-05_10-11-12.jpg", "2023-04-05T10:11:12"),
        ("signal-2023-04-05-101112.jpg", "2023-04-05T10:11:12"),
        ("PXL_20230405_101112345.MP.jpg", "2023-04-05T10:11:12+00:00"),
        ("2023-04-05 10.11.12.jpg", "2023-04-05T10:11:12"),
        ("20230405101112.jpg", "2023-04-05T10:11:12"),
        ("2023-04-05 beach.jpg", "2023-04-05"),
        ("2023.04.05.jpg", "2023-04-05"),
        ("20230405_beach.jpg", "2023-04-05"),
        ("beach (1) 2023_04_05 (2).jpg", "2023-04-05"),
        ("2023-04-05 1000 boats.jpg", "2023-04-05"),
        ("20231301.jpg", None),
        ("20230230.jpg", None),
        ("120230405.jpg", None),
        ("202304051.jpg", None),
        ("DSC01234.jpg", None),
        ("IMG_1234.jpg", None),
        ("2023.jpg", None),
        ("18001231.jpg", None),
        ("", None),
    ],
)
def test_dates_in_names(name, taken):
    assert name_date(name) == taken


@settings(deadline=None)
@given(st.text() | st.from_regex(r"[-+0-9.:/TZ ]{0,40}"))
def test_no_text_is_an_error(text):
    for found in (date(text), letter_date(text), name_date(text), utc_date(text)):
        assert found is None or 1826 <= moment_taken(found).year < 2100
