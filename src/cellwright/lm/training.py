"""The training loop: windows in order, the state carried along, saves that can be resumed."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from cellwright.lm.atomic import new_directory
from cellwright.lm.config import TrainConfig
from cellwright.lm.corpus import TokenFile, Windows
from cellwright.lm.engine import Engine, build_model, workplace
from cellwright.lm.errors import RunError, TrainingError
from cellwright.lm.evaluation import Evaluation, evaluate_tokens
from cellwright.lm.events import (
    Finished,
    OnEvent,
    Saved,
    Started,
    Step,
    StopRequest,
    Validated,
    Warned,
)
from cellwright.lm.fields import read_fields
from cellwright.lm.model import LanguageModel, States, read_cell
from cellwright.lm.optimise import set_learning_rate
from cellwright.lm.pace import EpochMean, Pace, reached
from cellwright.lm.records import FACTS, LATER_FACTS
from cellwright.lm.run import Position, RunDirectory, read_config, read_text_digests
from cellwright.lm.texts import Texts, check_files, open_texts, prepare_texts
from cellwright.lm.transformed import cell_of
from cellwright.lm.varied import VariedWindows
from cellwright.lm.watch import watch

SAVE_SECONDS = 60.0
LOG_WINDOWS = 50  # between two training lines of metrics.jsonl
STREAM_TOKENS = 256  # a validation stream is at least this long: its cold start weighs little


def train(
    config: TrainConfig,
    out: Path | str,
    *,
    on_event: OnEvent | None = None,
    stop: StopRequest | None = None,
    overwrite: bool = False,
    save_seconds: float = SAVE_SECONDS,
) -> Finished:
    """Train a language model into the new run directory `out`.

    Saves after every epoch, every `save_seconds`, and when asked to stop. Raises a CellwrightError
    for texts, cells, directories and devices that cannot be used, and for a loss that is not
    finite; what was saved before stays.
    """
    on_event = on_event or _ignore
    cell = cell_of(config)
    check_files(config)
    out = Path(out)
    with (
        workplace(config) as device,
        new_directory(out),
        RunDirectory.create(out, overwrite) as run,
    ):
        try:
            texts = prepare_texts(config, run.path / "tokens", lambda text: on_event(Warned(text)))
            model = build_model(config, cell, texts.tokenizer)
            training = Training(run, config, texts, Engine(config, model, device))
            training.begin()
        except BaseException:
            run.abandon()
            run.withdraw()
            raise
        return training.fit(on_event, stop or StopRequest(), save_seconds)


def resume(
    out: Path | str,
    *,
    changes: Mapping[str, Any] | None = None,
    on_event: OnEvent | None = None,
    stop: StopRequest | None = None,
    save_seconds: float = SAVE_SECONDS,
) -> Finished:
    """Go on with the run in `out` from its last save, exactly as if it had not been interrupted.

    `changes` may set epochs, minutes, device and threads. RunError if the run is finished (and
    not made longer), damaged or in use.
    """
    on_event = on_event or _ignore
    read_config(Path(out))  # a directory that is no run of training is left as it is
    with RunDirectory.open(Path(out)) as run:
        config = read_config(run.path).resumed(changes or {})
        with workplace(config) as device:
            texts = open_texts(config, run.path, read_text_digests(run.path))
            model = build_model(config, read_cell(run.path), texts.tokenizer)
            training = Training(run, config, texts, Engine(config, model, device))
            if warning := training.restore():
                on_event(Warned(warning))
            return training.fit(on_event, stop or StopRequest(), save_seconds)


@final
class Training:
    """One training under way: what it reads, where it writes, how far it has come."""

    def __init__(
        self, run: RunDirectory, config: TrainConfig, texts: Texts, engine: Engine
    ) -> None:
        self.run, self.config, self.texts, self.engine = run, config, texts, engine
        self.streams = Windows(texts.train.ids, config.batch, config.steps)
        self.position = Position()
        self.windows = self._windows()
        self.state: States | None = None
        self.mean = EpochMean()
        self.on_event: OnEvent = _ignore
        self.resumed = False
        self.told: set[str] = set()  # kinds of warnings of the watch

    def _windows(self) -> Windows | VariedWindows:
        """The windows of the epoch at which the training stands."""
        if not self.config.vary_steps:
            return self.streams
        return VariedWindows(self.streams, self.config.seed, self.position.epoch)

    def begin(self) -> None:
        """Write the run's first files; from now on it can be resumed."""
        self.engine.model.save_vocabulary(self.run.path)
        self._save(publish=False)
        self.run.describe(dataclasses.asdict(self.engine.model.shape), self.config)

    def restore(self) -> str | None:
        """Go back to the last save; a warning if it cannot go on to the bit.

        RunError if there is nothing left to train.
        """
        snapshot = self.run.load(self.engine.model.tensors())
        place = f"{self.run.path / 'last' / 'state.json'}"
        facts = read_fields(f"{place}: facts", snapshot.facts, FACTS, may_lack=LATER_FACTS)
        self.position, self.resumed = snapshot.position, True
        self.windows = self._windows()
        if self.position.window >= len(self.windows):
            raise RunError(
                f"{place}: position: window: expected a whole number below {len(self.windows)}, "
                f"the windows of an epoch, got {self.position.window}"
            )
        if self.position.finished and self.progress >= 1:
            raise RunError(
                f"{self.run.path}: this run is finished ({self._reached()}, "
                f"{self.position.seconds / 60:.1f} minutes): give more --epochs or --minutes"
            )
        try:
            self.state = self.engine.restore(snapshot)
        except RunError as error:
            raise RunError(f"{self.run.path}/{error}") from error
        self.mean = EpochMean(*facts["mean"])
        self.position = dataclasses.replace(self.position, finished=False)
        self.run.rewind_metrics(self.position.metrics_bytes)
        self.run.describe(dataclasses.asdict(self.engine.model.shape), self.config)
        return self.engine.difference(snapshot)

    def fit(self, on_event: OnEvent, stop: StopRequest, save_seconds: float) -> Finished:
        """Train from where it stands to the end, or until `stop` is set."""
        self.on_event = on_event
        self.pace = Pace(self.position.seconds)
        on_event(self._started())
        while self.progress < 1 and not stop.is_set():
            if self.position.window == 0:
                self.mean = EpochMean()
            epoch = self.position.epoch
            for x, y in self.windows.from_window(self.position.window):  # [B, T] each
                lr = self.config.learning_rate(epoch, x.shape[1])
                set_learning_rate(self.engine.optimizer, lr)
                try:
                    nats, norm, self.state = self.engine.step(x, y, self.state)
                except TrainingError as error:
                    raise self._diverged(error) from error
                self._advance(nats, x.numel())
                self._report(self.config.learning_rate(epoch), norm)
                if stop.is_set() or self.progress >= 1:
                    break
                if self.pace.since_save() > save_seconds and not self._epoch_over:
                    self._save_and_tell(publish=self.position.best_nats is None)

            # a request to stop saves at once; an epoch's end and the end of the time validate
            is_best = False
            if self._epoch_over or not stop.is_set():
                is_best = self._validate()
            if self._epoch_over:
                self.state = None
                self.position = dataclasses.replace(self.position, epoch=epoch + 1, window=0)
                self.windows = self._windows()
            self._save_and_tell(publish=is_best or self.position.best_nats is None)
        return self._finish()

    @property
    def progress(self) -> float:
        """From 0 to 1: the part of the epochs, or of the minutes, that is over."""
        if self.config.minutes is not None:
            return min(1.0, self.position.seconds / (60 * self.config.minutes))
        assert self.config.epochs is not None  # TrainConfig sets one of the two
        epochs = self.position.epoch - 1 + self.position.window / len(self.windows)
        return min(1.0, epochs / self.config.epochs)

    @property
    def _epoch_over(self) -> bool:
        return self.position.window == len(self.windows)

    def _reached(self) -> str:
        return reached(self.position.epoch - 1, self.position.window, len(self.windows))

    def _advance(self, nats: float, tokens: int) -> None:
        self.mean = self.mean.plus(nats, tokens)
        self.pace.count(nats, tokens)
        self.position = dataclasses.replace(
            self.position,
            window=self.position.window + 1,
            tokens=self.position.tokens + tokens,
            seconds=self.pace.seconds(),
        )

    def _report(self, lr: float, norm: float) -> None:
        """Log every LOG_WINDOWS windows, and tell of the step if it is time to."""
        at = self.position
        if at.window % LOG_WINDOWS == 0 or self._epoch_over:
            self.run.log(
                kind="train",
                epoch=at.epoch,
                window=at.window,
                tokens=at.tokens,
                nats=self.mean.nats,
                lr=lr,
                grad_norm=norm,
                seconds=round(at.seconds, 3),
            )
        if not self.pace.due() and not self._epoch_over:
            return
        loss, rate = self.pace.take()
        if self.config.minutes is not None:
            eta = 60 * self.config.minutes - at.seconds
        else:
            left = (1 - self.progress) * (self.config.epochs or 0)
            eta = left * self.streams.scored / rate
        self.on_event(
            Step(
                epoch=at.epoch,
                window=at.window,
                windows=len(self.windows),
                loss=loss,
                tokens=at.tokens,
                tokens_per_s=rate,
                lr=lr,
                grad_norm=norm,
                progress=self.progress,
                eta=max(0.0, eta),
                seconds=at.seconds,
            )
        )

    def _validate(self) -> bool:
        """Score the validation text, if there is one; True if the model was never better."""
        text, at = self.texts.valid, self.position
        if text is None:
            return False
        streams = max(1, min(self.config.batch, text.tokens // STREAM_TOKENS))
        with self.engine.published():
            result = evaluate_tokens(self.engine.model, text, streams)
        self._watch(text)
        is_best = at.best_nats is None or result.nats < at.best_nats
        best = result.nats if at.best_nats is None else min(result.nats, at.best_nats)
        seconds = self.pace.seconds()
        self.position = dataclasses.replace(at, best_nats=best, seconds=seconds)
        self.run.log(
            kind="valid",
            epoch=at.epoch,
            window=at.window,
            windows=len(self.windows),
            tokens=at.tokens,
            train_nats=self.mean.nats,
            averaged=self.engine.averaged_steps,
            seconds=round(seconds, 3),
            **{k: v for k, v in result.to_dict().items() if k in _LOGGED},
        )
        self.on_event(
            Validated(
                epoch=at.epoch,
                window=at.window,
                windows=len(self.windows),
                train_nats=self.mean.nats,
                nats=result.nats,
                perplexity=result.perplexity,
                bits_per_character=result.bits_per_character,
                tokens=at.tokens,
                is_best=is_best,
                best_nats=best,
                seconds=seconds,
            )
        )
        self._hear(result.nats)
        return is_best

    def _watch(self, text: TokenFile) -> None:
        """Note what gates and gradients do on a batch of a text; tell what is wrong, once each."""
        if not self.config.watch:
            return
        with self.engine.published():
            seen = watch(self.engine.model, text, self.config.steps)
        at, wrong = self.position, seen.warnings()
        self.run.log(
            kind="watch",
            epoch=at.epoch,
            window=at.window,
            tokens=at.tokens,
            **seen.to_dict(),
            warnings=list(wrong.values()),
        )
        for kind, line in wrong.items():
            if kind not in self.told:
                self.told.add(kind)
                self.on_event(Warned(f"epoch {at.epoch}: {line}"))

    def _hear(self, nats: float) -> None:
        """Tell nt-asgd of an epoch's validation, and who watches if it begins to average."""
        averaging = self.engine.averaging
        if averaging is None or averaging.under_way or not self._epoch_over:
            return
        averaging.hear(nats)
        if averaging.under_way:
            self.on_event(
                Warned(
                    f"epoch {self.position.epoch}: the validation got no better in "
                    f"{averaging.non_monotone} epochs; the weights are averaged from here on"
                )
            )

    def _save(self, publish: bool) -> None:
        facts = {"mean": dataclasses.astuple(self.mean), "texts": self.texts.digests}
        self.run.save(self.engine.snapshot(self.position, self.state, facts), publish)

    def _save_and_tell(self, publish: bool) -> None:
        self._save(publish)
        self.pace.saved()
        at = self.position
        self.on_event(Saved(self.run.path, at.epoch, at.window, at.seconds))

    def _diverged(self, error: TrainingError) -> TrainingError:
        at = self.position
        return TrainingError(
            f"training broke down: epoch {at.epoch}, window {at.window + 1}: {error}; the last "
            f"save in {self.run.path} is intact: train anew with a lower --lr or --clip"
        )

    def _finish(self) -> Finished:
        """Score the test text and mark the run as finished, unless it was stopped before."""
        stopped, test = self.progress < 1, None
        if not stopped:
            test = self._test()
            seconds = self.pace.seconds()
            self.position = dataclasses.replace(self.position, finished=True, seconds=seconds)
            self._save(publish=False)
        finished = Finished(
            out=self.run.path,
            epoch=self.position.epoch - 1,
            window=self.position.window,
            windows=len(self.windows),
            tokens=self.position.tokens,
            seconds=self.position.seconds,
            train_nats=self.mean.nats,
            valid_nats=self.position.best_nats,
            test=test,
            stopped=stopped,
            parameters=self.engine.model.parameter_count,
        )
        self.on_event(finished)
        return finished

    def _test(self) -> Evaluation | None:
        """Score the test text, as one stream, with the weights of model.safetensors."""
        if self.texts.test is None:
            return None
        model = LanguageModel.from_pretrained(self.run.path, self.engine.device)
        result = evaluate_tokens(model, self.texts.test)
        self.run.log(kind="test", trained=self.position.tokens, **result.to_dict())
        return result

    def _started(self) -> Started:
        model, texts, config = self.engine.model, self.texts, self.config
        return Started(
            out=self.run.path,
            cell=config.cell,
            cell_name=model.cell.__name__,
            parameters=model.parameter_count,
            tokens=texts.train.tokens,
            vocab=texts.tokenizer.size,
            level=config.level,
            epochs=config.epochs,
            minutes=config.minutes,
            device=str(self.engine.device),
            resumed=self.resumed,
            epoch=self.position.epoch,
            progress=self.progress,
            valid_tokens=texts.valid.tokens if texts.valid else 0,
            test_tokens=texts.test.tokens if texts.test else 0,
        )


_LOGGED = ("nats", "perplexity", "bits_per_character", "scored", "unknown")


def _ignore(event: object) -> None:
    """Nobody watches."""
