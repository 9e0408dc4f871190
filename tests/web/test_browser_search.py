"""What a person does with the box, the chips and the filters, in a real browser.

Proves that words, pictures, examples and filters become one query, that the address has all of it,
that Back and a shared address return to it, and that an answer without a match says so.
"""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.browsing import names
from support.served import printed

pytestmark = pytest.mark.browser

STAR = "a yellow ring"


def at_rest(page):
    expect(page.locator("html")).not_to_have_class(re.compile("searching"))


def search(page, words):
    page.get_by_label("What to look for").fill(words)
    with page.expect_response(re.compile("/api/search")):
        page.keyboard.press("Enter")
    at_rest(page)


def chips(page):
    """What the chips say, without their buttons."""
    texts = page.locator("#chips .chip").all_inner_texts()
    return [re.sub(r"\s*Remove .*", "", text, flags=re.S).replace("\n", "") for text in texts]


def by_command(capsys, folder, *arguments):
    """Names of the hits that the command line prints."""
    hits = printed(capsys, "search", *arguments, "-l", folder / "library", "--device", "cpu")
    return [Path(hit["path"]).name for hit in hits]


def test_words_find_the_hits_of_the_command_line_and_stand_in_the_address(page, album, capsys):
    page.goto("/")
    search(page, STAR)
    found = names(page)
    assert found == by_command(capsys, album[0], STAR, "-k", "60")
    assert page.url.endswith("/?q=a+yellow+ring")
    assert page.title() == "a yellow ring qvsearch"
    assert "best first" in page.locator("#message").inner_text()


def test_back_and_a_shared_address_return_to_a_search(page):
    page.goto("/")
    page.locator("#grid .card").first.wait_for()
    everything = names(page)
    search(page, STAR)
    found = names(page)
    search(page, "a green square")
    assert names(page) != found
    page.go_back()
    page.wait_for_url("**/?q=a+yellow+ring")
    expect(page.locator("#grid .card")).to_have_count(len(found))
    assert names(page) == found
    page.reload()
    page.locator("#grid .card").first.wait_for()
    assert names(page) == found
    assert page.get_by_label("What to look for").input_value() == STAR
    page.go_back()
    page.locator(".caption", has_text=everything[0]).first.wait_for(state="attached")
    assert names(page)[: len(found)] == everything[: len(found)]


def test_a_picture_that_is_chosen_joins_the_words(page, album):
    page.goto("/?q=at+night")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add a picture").click()
    chooser.value.set_files(album[0] / "pictures" / "IMG_0007.jpg")
    page.wait_for_url("**upload=*")
    page.locator("#grid .card").first.wait_for()
    assert "q=at+night" in page.url
    assert page.locator(".chip.upload img").evaluate("image => image.decode().then(() => true)")
    page.get_by_role("button", name="Remove like").click()
    page.wait_for_url("**/?q=at+night")


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_picture_that_is_dropped_or_pasted_finds_itself(page, album, how):
    page.goto("/")
    content = (album[0] / "pictures" / "IMG_0007.jpg").read_bytes()
    page.evaluate(
        """([bytes, how]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "a.jpg", {type: "image/jpeg"}));
            const event = how === "drop"
                ? new DragEvent("drop", {dataTransfer: data, bubbles: true})
                : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
            document.querySelector("main").dispatchEvent(event);
        }""",
        [list(content), how],
    )
    page.wait_for_url("**/?upload=*")
    page.locator(".relevance").first.wait_for()
    assert names(page)[0] == "IMG_0007.jpg"


def test_a_file_that_is_no_picture_is_refused_with_its_name(page, album):
    page.goto("/")
    page.locator("#file").set_input_files(album[0] / "notes" / "note 1.txt")
    page.get_by_text("note 1.txt is not a picture").wait_for()
    page.locator("#file").set_input_files(
        {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": b"nothing of a picture"}
    )
    page.locator(".toast.shown.bad").wait_for()
    assert page.url.endswith("/")


def test_words_to_leave_out_are_a_chip(page):
    page.goto(f"/?q={STAR}")
    page.locator("#grid .card").first.wait_for()
    page.get_by_role("button", name="Not", exact=True).click()
    page.keyboard.type("snow")
    with page.expect_response(re.compile("not=snow")):
        page.keyboard.press("Enter")
    assert chips(page) == ["not snow"]
    page.go_back()
    page.get_by_role("button", name="Not", exact=True).click()
    page.get_by_label("Exact words that no hit has").fill("draft")
    with page.expect_response(re.compile("without=draft")):
        page.keyboard.press("Enter")
    assert chips(page) == ["without draft"]
    page.go_back()
    expect(page.locator("#chips .chip")).to_have_count(0)


def test_exact_words_only_are_a_chip(page):
    page.goto("/?q=note")
    page.locator("#grid .card").first.wait_for()
    page.get_by_role("button", name="Exact words", exact=True).click()
    with page.expect_response(re.compile("words_only=1")):
        page.get_by_role("button", name="exact words only").click()
    assert chips(page) == ["exact words only"]
    page.get_by_role("button", name="Remove exact").click()
    page.wait_for_url("**/?q=note")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("min_size=big", "Size 'big' is not a size"),
        ("q=star&kind=movie", "Kind 'movie' is unknown"),
        ("q=star&without=!", "without '!' has no letter"),
        ("q=star&words_only=1&not=snow", "Exact words needs words, and takes no files"),
        ("not=snow", "the query looks for nothing; give words, a picture or an example as well"),
        (
            "language=?",
            "Language '?' is not a code of a language; write e.g. de or en (qvsearch status --f",
        ),
    ],
)
def test_errors_have_the_words_of_the_page(page, query, sentence):
    page.goto(f"/?{query}")
    problem = page.get_by_role("alert")
    problem.wait_for()
    assert problem.inner_text().startswith(sentence)


def test_likes_and_unlikes_are_chips_with_their_pictures(page):
    page.goto("/")
    cards = page.locator("#grid .card.image")
    for number, name in ((0, "More like this"), (1, "Not like this")):
        cards.nth(number).hover()
        cards.nth(number).get_by_role("button", name="Actions for").click()
        with page.expect_response(re.compile("like=")):
            page.get_by_role("menuitem", name=name).click()
        page.locator(".relevance").first.wait_for(state="attached")
    assert re.search(r"\?like=[0-9a-f]{48}&unlike=[0-9a-f]{48}$", page.url)
    assert chips(page) == ["like", "not like"]
    page.get_by_role("button", name="Clear all").click()
    page.wait_for_url("**/")


def test_filters_come_from_the_library_and_stand_in_the_address(page, album, capsys):
    page.goto("/?sort=path")
    page.get_by_role("button", name="Camera", exact=True).click()
    choices = page.locator("#choices .choice").all_inner_texts()
    assert {each.split("\n")[0] for each in choices} == {"Canon EOS R6", "Google Pixel 8"}
    page.get_by_role("button", name="Canon EOS R6").click()
    page.get_by_role("button", name="Kind", exact=True).click()
    page.get_by_role("checkbox", name="picture").check()
    page.wait_for_url("**kind=image*")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Date", exact=True).click()
    page.get_by_role("button", name="2023").click()
    page.wait_for_url("**after=2023&before=2024*")
    assert chips(page) == ["by path", "Canon EOS R6", "picture", "after 2023", "before 2024"]
    at_rest(page)
    arguments = ["--camera", "Canon EOS R6", "--kind", "image", "--after=2023", "--before=2024"]
    found = names(page)
    assert found
    assert found == by_command(capsys, album[0], *arguments, "--sort", "path", "-k", "60")
    page.get_by_role("button", name="Remove Canon").click()
    page.wait_for_url(lambda address: "camera" not in address)
    page.go_back()
    page.wait_for_url("**camera=Canon*")
    assert len(chips(page)) == 5


@pytest.mark.parametrize(
    ("filter_", "act", "address"),
    [
        ("Folder", lambda page: page.get_by_label("notes").check(), r"under=[^&]*notes"),
        (
            "Size",
            lambda page: page.get_by_role("button", name="0.3 MP").click(),
            "min_size=640x480",
        ),
        (
            "Length",
            lambda page: page.get_by_role("button", name="up to 10").click(),
            "duration=-10s",
        ),
        ("Shape", lambda page: page.get_by_role("button", name="portrait").click(), "orientation="),
        ("Order", lambda page: page.get_by_role("button", name="by path").click(), "sort=path"),
        ("Place", lambda page: page.keyboard.type("48.2,16.4,9\n"), "near=48.2%2C16.4%2C9"),
        ("Path pattern", lambda page: page.keyboard.type("**/*.txt\n"), "glob=.*txt"),
    ],
)
def test_each_filter_searches_anew(page, filter_, act, address):
    page.goto("/")
    page.get_by_role("button", name=filter_, exact=True).click()
    with page.expect_response(re.compile("/api/search")) as answer:
        act(page)
    assert re.search(address, page.url)
    assert answer.value.status == 200
    assert page.locator("#chips .chip").count() == 1


def test_a_filter_that_cannot_be_read_says_how_to_write_it(page):
    page.goto("/?near=here")
    page.get_by_role("alert").get_by_text("48.2,16.37").wait_for()
    page.get_by_role("button", name="Remove near here").click()
    page.locator("#grid .card").first.wait_for()


def test_without_a_match_the_nearest_are_shown_apart_and_the_ranking_is_offered(page):
    page.goto("/")
    search(page, "my sister's wedding")
    page.get_by_text("Nothing matches.").wait_for()
    assert page.locator("#grid.nearest .card").count() > 0
    page.get_by_role("button", name="Show the whole ranking").click()
    page.wait_for_url("**&all=1")
    page.locator("#grid:not(.nearest)").wait_for()
    search(page, STAR)
    assert "all=" not in page.url


def test_filters_that_no_file_passes_can_be_removed(page):
    page.goto("/?after=2040")
    page.get_by_text("No file passes these filters.").wait_for()
    page.get_by_role("button", name="Remove the filters").click()
    page.locator("#grid .card").first.wait_for()


def test_all_of_it_goes_by_keyboard(page):
    page.goto("/")
    page.locator("#grid .card").first.wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type(STAR)
    page.keyboard.press("Enter")
    page.wait_for_url("**q=a+yellow+ring")
    page.locator(".relevance").first.wait_for(state="attached")
    found = names(page)
    focused = "document.activeElement.closest('.card')?.querySelector('.caption').textContent"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == found[0]
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == found[1]
    page.keyboard.press("End")
    assert page.evaluate(focused) == found[-1]
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    assert page.get_by_text("1 file selected").is_visible()
    page.keyboard.press("Enter")
    assert page.locator("#viewer").is_visible()
    page.keyboard.press("ArrowRight")
    page.get_by_role("heading", name=found[1]).wait_for()
    page.keyboard.press("Escape")
    page.locator("#viewer").wait_for(state="hidden")
    assert page.evaluate(focused) == found[1]
    page.keyboard.press("m")
    page.wait_for_url("**like=*")
    page.locator("#grid .card").first.wait_for()
    page.keyboard.press("?")
    assert page.get_by_role("heading", name="Keys").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert page.get_by_text("1 file selected").is_hidden()
