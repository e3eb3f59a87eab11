"""The event player in JupyterLab: what it shows is what the package counts, and time is the browser's.

Times are printed beside what is aimed at, and never asserted: a busy machine does not make the suite red. So in the
other files of this folder.
"""

import numpy as np
import pytest

from snn_helpers.widgets.event_player import events_lost

MAKE = """
import numpy as np
from snn_helpers.events.recording import make_events
from snn_helpers.widgets import EventPlayer

def made_up(count, seed=0):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 300_000, count))
    return make_events(rng.integers(0, 34, count), rng.integers(0, 34, count), t, rng.integers(0, 2, count))
"""


@pytest.fixture
def events():
    scope = {}
    exec(MAKE + "events = made_up(7000)", scope)
    return scope["events"]


def state(widget, name):
    return widget.evaluate("(root, name) => root.snn.store.get(name)", name)


def test_player_plays_scrubs_and_shows_true_counts_without_a_message(open_notebook, events, pictures):
    cells = [MAKE, "player = EventPlayer(made_up(7000))\nplayer.show('Look.', 'A player.')", "print(player.state)"]
    notebook = open_notebook("player.ipynb", cells).run_all()
    page, widget = notebook.page, notebook.widget()
    widget.scroll_into_view_if_needed()
    sent = notebook.kernel_messages()

    # Slow enough that a busy machine does not come to the recording's end, where a click would start it again.
    widget.get_by_label("Speed", exact=True).select_option(label="1/100")
    widget.get_by_role("button", name="Play").click()
    # It draws while it plays, rather than at the end.
    page.wait_for_function("() => { const { snn } = document.querySelector('section.snn'); return snn.draws > 10"
                           " && snn.store.get('time_ms') > 61 && snn.clock.playing }")  # fmt: skip
    widget.get_by_role("button", name="Pause").click()
    assert not widget.evaluate("root => root.snn.clock.playing")
    assert state(widget, "time_ms") > 61

    box = widget.locator("canvas").nth(1).bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    for step in range(10):
        page.mouse.move(box["x"] + 60 + 20 * step, box["y"] + 60)
    page.mouse.up()
    widget.get_by_label("Bin width").select_option(label="10 ms")
    widget.locator("canvas").nth(1).focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert state(widget, "time_ms") == 20
    page.keyboard.press(" ")
    assert widget.evaluate("root => root.snn.clock.playing")
    page.keyboard.press(" ")
    page.keyboard.press("Home")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    assert notebook.kernel_messages() == sent

    chosen = events[(events["t"] >= 60_000) & (events["t"] < 70_000)]
    on = int(chosen["p"].sum())
    said = widget.locator(".facts").last.text_content()
    assert f"{len(chosen)} of 7000 events ({on} ON, {len(chosen) - on} OFF)" in said
    assert f"lose {events_lost(events, 10)} events" in said
    widget.screenshot(path=pictures / "event_player.png")

    assert "'time_ms': 60" in notebook.run_cell(2)  # leaving the widget hands its state over, once
    assert "'bin_ms': 10" in notebook.output(2)


def test_player_draws_the_pixels_that_the_package_counts(open_notebook, events):
    cells = [MAKE, "EventPlayer(made_up(7000), state={'time_ms': 45.0, 'bin_ms': 10}).show('Look.', 'A player.')"]
    widget = open_notebook("pixels.ipynb", cells).run_all().widget()
    drawn = widget.evaluate(
        """root => { const { node, width, height } = root.snn.field; const scale = node.width / 34, found = [];
             const data = node.getContext('2d').getImageData(0, 0, node.width, node.height).data;
             for (let y = 0; y < 34; y++) for (let x = 0; x < 34; x++) {
               const at = 4 * (Math.floor((y + 0.5) * scale) * node.width + Math.floor((x + 0.5) * scale));
               found.push(data[at] < 250 || data[at + 1] < 250 || data[at + 2] < 250); }
             return found; }"""
    )
    expected = np.zeros((34, 34), bool)
    chosen = events[(events["t"] >= 40_000) & (events["t"] < 50_000)]
    expected[chosen["y"], chosen["x"]] = True
    assert np.array_equal(np.array(drawn).reshape(34, 34), expected)


def test_two_players_do_not_disturb_each_other_and_many_events_are_thinned(open_notebook, pictures):
    cells = [
        MAKE,
        "EventPlayer(made_up(7000)).show('One.', 'A player.')",
        "EventPlayer(made_up(70_000, 1)).show('Two.', 'A player.')",
        "EventPlayer(made_up(0)).show('None.', 'A player.')\nEventPlayer(None).show('None.', 'A player.')",
    ]
    notebook = open_notebook("two.ipynb", cells, width=800, height=1800).run_all()
    first, second = notebook.widget(0), notebook.widget(1)
    second.get_by_role("button").first.click()
    notebook.page.wait_for_function("() => document.querySelectorAll('section.snn')[1].snn.store.get('time_ms') > 62")
    second.get_by_role("button").first.click()
    assert state(first, "time_ms") == 60
    assert "70,000 events: all are in the pixels, every 4th is a dot; the counts are of all" in second.text_content()
    assert "of 70000 events" in second.text_content()
    assert notebook.widget(2).text_content().endswith("This recording has no events to play.")
    assert notebook.widget(3).text_content().endswith("There is no recording to play.")
    notebook.page.evaluate("() => { document.body.dataset.jpThemeLight = 'false' }")
    notebook.page.screenshot(path=pictures / "event_player_dark_narrow.png")


def test_player_of_a_million_events_draws_no_more_than_the_screen_shows(open_notebook, pictures):
    cells = [
        MAKE,
        """rng = np.random.default_rng(0)
count = 1_000_000
t = np.sort(rng.integers(0, 300_000, count))
events = make_events(rng.integers(0, 1280, count), rng.integers(0, 720, count), t, rng.integers(0, 2, count))
player = EventPlayer(events, sensor_size=(1280, 720, 2), state={"time_ms": 200.0, "mode": "accumulate"})
player.show('Look.', 'A player.')""",
    ]
    notebook = open_notebook("million.ipynb", cells).run_all()
    widget = notebook.widget()
    widget.wait_for()
    shown = widget.evaluate("root => ({ ...root.snn.work, dots: root.snn.dots, sent: root.snn.recording.t.length })")
    assert shown["sent"] == 1_000_000
    assert shown["dots"] == 20_000
    # No more cells than the canvas has pixels, for ON and OFF, on a screen of one pixel a CSS pixel.
    assert 0 < shown["cells"] <= 2 * 238 * 134
    assert "1,000,000 events: all are in the pixels, every 50th is a dot" in widget.text_content()
    assert "One square of the picture is 6 \u00d7 6 pixels of the sensor." in widget.text_content()

    # While it plays, a frame takes the events since the frame before, not all events so far.
    widget.get_by_label("Speed", exact=True).select_option(label="1/100")
    widget.get_by_role("button", name="Play").click()
    notebook.page.wait_for_function("() => document.querySelector('section.snn').snn.draws > 10")
    widget.get_by_role("button", name="Pause").click()
    # The clock passes 250 ms at most at once, which are 2.5 ms of the recording at this speed.
    assert widget.evaluate("root => root.snn.work.events") < 2.6 * 1_000_000 / 300 * 1.1
    widget.screenshot(path=pictures / "event_player_million.png")
