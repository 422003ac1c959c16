"""``quinkgl-trio demo``: set the stage, let the peers work, measure, report."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Final

import trio

from quinkgl.cli import CliError, Context, ExitCode
from quinkgl.core import signature
from quinkgl.data import DataError
from quinkgl.serialization import encoded_size
from quinkgl.storage import write_atomically
from quinkgl_trio.checkpointing import load_latest
from quinkgl_trio.demo.crew import PeerLog, run_crew
from quinkgl_trio.demo.plan import DemoPlan, PeerFolder, Stage, set_stage
from quinkgl_trio.demo.processes import ChildDied
from quinkgl_trio.demo.reference import train_alone, train_central
from quinkgl_trio.demo.report import render_report
from quinkgl_trio.demo.results import DemoResult, PeerOutcome
from quinkgl_trio.demo.table import result_table
from quinkgl_trio.demo.view import DemoView, make_demo_view
from quinkgl_trio.run_setup import data_exit
from quinkgl_trio.signals import exit_code_for, signals_to
from quinkgl_trio.training import TrainingPlan

REPORT: Final = "report.html"
PICTURE: Final = "report.png"
_DEFAULTS: Final = {
    "digits": (30, {"softmax": 1.0, "mlp": 0.5, "torch": 0.5}),
    "fashion-mnist": (60, {"softmax": 0.2, "mlp": 0.2, "torch": 0.2}),
}
"""Rounds and learning rates by data set: longer steps on unlike shards drive peers further apart."""


def demo(context: Context) -> int:
    """Run the demonstration.

    Raises:
        CliError: the data cannot be had, a peer died, or no peer received anything.
        OSError: something cannot be read or written.
    """
    plan = _plan(context.args)
    try:
        stage = set_stage(plan)
    except DataError as error:
        raise CliError(str(error), data_exit(error)) from error
    logs = [PeerLog(folder.name) for folder in stage.folders]
    with make_demo_view(context.output, logs, plan.training.rounds) as view:
        signals: list[int] = []
        result = trio.run(_perform, stage, logs, view, signals)
    if result is None:
        return exit_code_for(signals[0])
    picture = _write_report(context, stage, result)
    if context.output.json:
        context.output.result(result.to_json() | {"picture": picture}, "")
    else:
        places = f"report {result.report}" + (f"\npicture {picture}" if picture else "")
        context.output.result({}, f"{result_table(result)}\n{places}")
    if result.updates_received == 0:
        raise CliError(
            "no peer received a single update: they trained alone",
            ExitCode.WIRE,
            hint="is UDP over the loopback interface blocked?",
        )
    return ExitCode.SUCCESS


def _plan(args: argparse.Namespace) -> DemoPlan:
    rounds, rates = _DEFAULTS[args.dataset]
    training = TrainingPlan(
        rounds=args.rounds or rounds,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate or rates[args.model],
        schedule=args.schedule,
    )
    return DemoPlan(
        peers=args.peers,
        alpha=args.alpha,
        dataset=args.dataset,
        data_dir=args.data_dir,
        limit=None if args.dataset == "digits" else args.limit,
        model=args.model,
        hidden=args.hidden,
        seed=args.seed,
        training=training,
        fan_out=args.fan_out,
        quorum=min(args.quorum, args.peers - 1),
        min_collect_s=args.min_collect,
        max_collect_s=args.max_collect,
        offer_interval_s=args.offer_interval,
        out=args.out.absolute(),
    )


async def _perform(
    stage: Stage, logs: list[PeerLog], view: DemoView, signals: list[int]
) -> DemoResult | None:
    """The run itself; None after a signal, which is put into ``signals``."""
    with trio.CancelScope() as scope:

        def stop(number: int) -> None:
            signals.append(number)
            scope.cancel()

        async with signals_to(stop):
            plan = stage.plan
            view.note(f"{plan.peers} peers are starting")
            start = trio.current_time()
            try:
                await run_crew(stage, logs, view.refresh)
            except ChildDied as died:
                raise CliError(str(died), ExitCode.NODE_CONFIG, hint=f"its log is in {plan.out}") from died
            seconds = trio.current_time() - start
            return await _measure(stage, logs, view, seconds)
    return None


async def _measure(stage: Stage, logs: list[PeerLog], view: DemoView, seconds: float) -> DemoResult:
    """Evaluate what the peers left behind, and train what it is compared with."""
    outcomes: list[PeerOutcome] = []
    for folder, log in zip(stage.folders, logs, strict=True):
        view.note(f"training {folder.name} alone, for comparison")
        alone = await trio.to_thread.run_sync(partial(train_alone, stage, folder.index))
        gossip = await trio.to_thread.run_sync(_final_accuracy, stage, folder)
        outcomes.append(_outcome(stage, folder, log, alone, gossip))
    view.note("training one model on all the data, for comparison")
    central_curve = await trio.to_thread.run_sync(train_central, stage)
    view.note("")
    plan, training = stage.plan, stage.plan.training
    weights = stage.model(None).get_weights()
    return DemoResult(
        dataset=plan.dataset,
        model=plan.model,
        parameters=sum(array.size for array in weights.values()),
        alpha=plan.alpha,
        seed=plan.seed,
        rounds=training.rounds,
        test_samples=len(stage.test),
        hyperparameters={
            "epochs": training.epochs,
            "batch size": training.batch_size,
            "learning rate": training.learning_rate,
            "schedule": training.schedule,
            "fan-out": plan.fan_out,
            "quorum": plan.quorum,
        },
        peers=tuple(outcomes),
        central=central_curve[-1],
        central_curve=tuple(central_curve),
        seconds=seconds,
        encoded_update_bytes=encoded_size(signature(weights)),
        swarm_id=stage.manifest.swarm_id,
        report=str(plan.out / REPORT),
    )


def _final_accuracy(stage: Stage, folder: PeerFolder) -> float:
    """Accuracy of the model in a peer's last checkpoint."""
    saved = load_latest(folder.checkpoints)
    if saved is None or saved.round != stage.plan.training.rounds:
        raise CliError(f"{folder.name} left no checkpoint of its last round", ExitCode.NODE_CONFIG)
    model = stage.model(folder.index)
    model.load_state_dict(saved.learning["learner"]["model"])
    return model.evaluate(stage.test)["accuracy"]


def _outcome(stage: Stage, folder: PeerFolder, log: PeerLog, alone: float, gossip: float) -> PeerOutcome:
    summary = log.summary
    assert summary is not None  # noqa: S101  the crew takes a peer without one for dead
    return PeerOutcome(
        name=folder.name,
        peer_id=log.peer_id,
        label_counts=tuple(stage.shards[folder.index].class_counts().tolist()),
        alone=alone,
        gossip=gossip,
        curve=tuple(row["accuracy"] for row in log.rounds),
        rounds=summary["rounds"],
        updates_received=summary["updates_received"],
        updates_sent=summary["updates_sent"],
        bytes_sent=summary["bytes_sent"],
        bytes_received=summary["bytes_received"],
        seconds=summary["seconds"],
    )


def _write_report(context: Context, stage: Stage, result: DemoResult) -> str | None:
    """Write report and picture; returns the picture's path, None where it could not be drawn."""
    out = stage.plan.out
    write_atomically(out / REPORT, render_report(result).encode())
    picture: Path = out / PICTURE
    try:
        from quinkgl_trio.demo.picture import draw_picture

        draw_picture(result, picture)
    except ImportError:
        context.output.note("no picture: it needs matplotlib (pip install 'quinkgl[plot]')")
        return None
    return str(picture)
