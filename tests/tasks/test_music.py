"""Piano rolls in files: what is read, what is refused and how, and music whose rule is known."""

import itertools
import json
import math

import pytest

from cellwright.tasks.music import (
    PARTS,
    Music,
    MusicError,
    least_nats,
    made_up,
    read_music,
)

PIECE = [[60, 64], [], [67, 62, 62]]
GOOD = {"train": [PIECE, PIECE], "valid": [PIECE], "test": [[[21], [108]]]}


def written(tmp_path, values, name="rolls.json"):
    path = tmp_path / name
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


def test_the_parts_are_read(tmp_path):
    music = read_music(written(tmp_path, GOOD))
    assert music.name == "rolls.json"
    assert music.train == (((60, 64), (), (62, 67)),) * 2  # in order, each pitch once
    assert music.part("test") == (((21,), (108,)),)
    assert [music.steps(part) for part in PARTS] == [6, 3, 2]


def test_the_digest_is_of_the_music_not_of_the_file(tmp_path):
    music = read_music(written(tmp_path, GOOD))
    again = written(tmp_path, json.dumps(dict(reversed(GOOD.items())), indent=3), "other.json")
    assert read_music(again).digest == music.digest
    moved = {**GOOD, "test": [[[21], [107]]]}
    assert read_music(written(tmp_path, moved)).digest != music.digest


BAD = {
    "no JSON": ("{", "expected piano rolls as JSON"),
    "no text": ("\udcff", "expected piano rolls as JSON"),
    "too deep": ("[" * 100_000, "expected piano rolls as JSON"),
    "an endless number": ("1" * 5000, "expected piano rolls as JSON"),
    "a list": ([GOOD], "expected an object with the parts train, valid, test, got [{"),
    "a part too few": ({"train": [PIECE]}, 'got ["train"]'),
    "a part too many": ({**GOOD, "more": []}, '"test", "more"]'),
    "an empty part": ({**GOOD, "valid": []}, "valid: expected a list of at least one piece"),
    "a part that is none": ({**GOOD, "valid": 3}, "valid: expected a list of at least one piece"),
    "a piece of one step": (
        {**GOOD, "train": [PIECE, [[60]]]},
        "train[1]: expected a list of at least two steps, got [[60]]",
    ),
    "a piece that is none": ({**GOOD, "test": [{}]}, "test[0]: expected a list of at least two"),
    "a step that is none": (
        {**GOOD, "test": [[[60], 60]]},
        "test[0][1]: expected the list of a step's pitches, got 60",
    ),
    "a pitch too low": ({**GOOD, "test": [[[60], [20]]]}, "from 21 to 108, got 20"),
    "a pitch too high": ({**GOOD, "test": [[[60], [109]]]}, "test[0][1]: expected MIDI pitches"),
    "a rest as a number": ({**GOOD, "test": [[[60], [-1]]]}, "got -1"),
    "half a pitch": ({**GOOD, "test": [[[60.0], [60]]]}, "test[0][0]: expected MIDI"),
    "true": ({**GOOD, "test": [[[True], [60]]]}, "got true"),
    "not a number": ('{"train":[[[NaN],[60]]],"valid":[],"test":[]}', "got NaN"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_file_is_told_in_one_line(tmp_path, case):
    values, said = BAD[case]
    path = tmp_path / "rolls.json"
    text = values if isinstance(values, str) else json.dumps(values)
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(MusicError) as caught:
        read_music(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert said in message
    assert "\n" not in message
    assert len(message) < len(str(path)) + 250


def test_a_missing_file_and_a_directory(tmp_path):
    with pytest.raises(MusicError, match=r"none\.json: cannot be read: No such file"):
        read_music(tmp_path / "none.json")
    with pytest.raises(MusicError, match="cannot be read"):
        read_music(tmp_path)


def test_made_up_music_is_the_same_for_a_seed_and_can_be_a_file(tmp_path):
    music = made_up(3)
    assert music == made_up(3)
    assert music.digest != made_up(4).digest
    assert [len(music.part(part)) for part in PARTS] == [60, 20, 20]
    path = written(tmp_path, {part: music.part(part) for part in PARTS})
    assert read_music(path).digest == music.digest


def test_made_up_music_costs_what_is_claimed():
    """A model that knows the rule, written out by hand, is scored on every step."""
    music = made_up(0, (1, 1, 400))
    ranges = [range(36, 42), range(48, 54), range(60, 66), range(72, 78)]
    total, steps = 0.0, 0
    for piece in music.test:
        for before, after in itertools.pairwise(piece):
            for pitch, voice in zip(before, ranges, strict=True):
                following = pitch + 1 if pitch + 1 in voice else voice[0]
                stays, moves = pitch in after, following in after
                assert stays != moves
                total -= math.log(0.75 if stays else 0.25)  # the pitch where it is
                total -= math.log(0.25 if moves else 0.75)  # and the next one
            steps += 1
    assert total / steps == pytest.approx(least_nats(), rel=0.02)


def test_the_class_names_its_parts():
    with pytest.raises(KeyError):
        Music("m", (), (), ()).part("dev")
