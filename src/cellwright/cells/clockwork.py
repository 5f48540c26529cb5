"""Clockwork networks: modules that run at their own pace."""

from cellwright.language import Cell, Input, State, bias, linear, modules, tanh, where

PERIODS = (1, 2, 4, 8, 16, 32, 64, 128)


class Clockwork(Cell):
    """Clockwork RNN: module k runs every 2^(k-1) steps (Koutnik, Greff, Gomez & Schmidhuber 2014).

    Eight modules; each reads itself and the slower ones, and keeps its state between its turns.
    The state `age` counts the steps since a module's last turn: all run at the first step.

    Good for: signals with several time scales, such as sound: slow modules remember long.
    """

    x, h, age = Input(), State(), State()

    period = modules(*PERIODS)
    n = tanh(linear(x) + linear(h, upper_blocks=len(PERIODS)) + bias())

    h.next = where(age < 1, n, h)
    age.next = where(age + 1 < period, age + 1, 0)
