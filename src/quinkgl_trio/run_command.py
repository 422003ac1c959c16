"""``quinkgl-trio run``: one peer, from its flags to its exit code."""

from __future__ import annotations

import argparse
import os
import signal
import stat
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from quinkgl.cli import CliError, Context, ExitCode
from quinkgl.manifest import ManifestError
from quinkgl.observability import RuntimeEvent
from quinkgl.storage import CheckpointError
from quinkgl.wire.addresses import parse_address
from quinkgl.wire.errors import ErrorCode
from quinkgl_trio.background import background
from quinkgl_trio.bootstrap import PeerTarget, parse_host_port
from quinkgl_trio.key_log import open_key_log
from quinkgl_trio.listening import bind_listener, flag_value
from quinkgl_trio.network import JoinError
from quinkgl_trio.node import GossipConfig, Node
from quinkgl_trio.run_setup import (
    SwarmLink,
    build_model,
    make_folder,
    manifest_from_flags,
    manifest_source,
    read_data,
    read_identity,
    read_manifest,
    read_secret,
    training_plan,
)
from quinkgl_trio.signals import exit_code_for, signals_to
from quinkgl_trio.views import View, make_view

_JOIN_TIMEOUT_S: Final = 30.0
_PATIENCE_S: Final = 10.0
"""How long an orderly end may take after a signal before it is cut short."""


def run(context: Context) -> int:
    """Run one peer.

    Everything is checked first, from flags to files to the port; only then is anything written or sent.

    Raises:
        CliError: with one line and the exit code, for whatever is wrong.
        ManifestError, ImportError, OSError: the frame of the command line knows them.
    """
    args = context.args
    _check_stdin(args)
    targets = [flag_value("--peer", text, PeerTarget.parse) for text in args.peer or ()]
    listen = flag_value("--listen", args.listen, parse_host_port)
    advertise = [flag_value("--advertise", text, parse_address) for text in args.advertise or ()]
    secret = read_secret(args.join_secret_file)
    source = manifest_source(args)
    if isinstance(source, SwarmLink):
        targets += source.peers
    manifest = read_manifest(source, targets, args, listen=listen, secret=secret)
    plan = training_plan(args, manifest)
    identity = read_identity(args)
    data = read_data(args)
    model = build_model(args, manifest, data, identity.identity)
    with bind_listener(listen) as bound:
        try:
            node = Node(
                manifest=manifest or manifest_from_flags(args, model, data.train),
                model=model,
                data=data.train,
                evaluation=data.test,
                training=plan,
                listen=bound,
                peers=targets,
                advertise=advertise,
                identity=identity.identity,
                join_secret=secret,
                keylog=open_key_log(args.keylog, context.output),
                gossip=_gossip(args, knows_peers=bool(targets)),
                seed=args.seed,
                peer_index=args.peer_index if args.peer_index is not None else data.part,
                checkpoint_dir=args.checkpoint_dir,
                checkpoint_every=args.checkpoint_every,
                resume=args.resume,
            )
        except ManifestError:
            raise
        except ValueError as error:  # a checkpoint, or a number that makes no sense
            raise CliError(str(error), ExitCode.VALIDATION) from error
        if args.checkpoint_dir is not None:
            make_folder(args.checkpoint_dir)
        identity.keep(context.output)
        with make_view(context.output, plan.rounds) as view:
            screen = _Screen(view)
            node.emitter.subscribe(screen.show)
            return trio.run(_run_node, node, screen, args.stop_when_stdin_closes)


async def _run_node(node: Node, screen: _Screen, watch_stdin: bool) -> int:
    """Run the node to the end of its rounds, or until a signal; returns the exit code."""
    signals: list[int] = []
    with trio.CancelScope() as scope:

        def stop(number: int) -> None:
            signals.append(number)
            node.stop()
            if len(signals) == 1:
                scope.deadline = trio.current_time() + _PATIENCE_S
            elif len(signals) == 2:
                scope.cancel()
            else:  # whatever is on disk is whole: files appear in one step
                os._exit(exit_code_for(signals[0]))

        screen.on_failure = lambda: stop(signal.SIGPIPE)
        async with signals_to(stop), background() as nursery:
            if watch_stdin:
                nursery.start_soon(_watch_stdin, partial(stop, signal.SIGTERM))
            try:
                async with node:
                    await node.run()
            except JoinError as error:
                raise CliError(str(error), _join_exit(error)) from error
            except CheckpointError as error:
                raise CliError(str(error), ExitCode.IO) from error
    if screen.failure is not None:
        raise screen.failure
    return exit_code_for(signals[0]) if signals else ExitCode.SUCCESS


class _Screen:
    """Shows events in a view; remembers if that fails, since whoever emits an event must not fail for it."""

    def __init__(self, view: View) -> None:
        self.failure: OSError | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self._view = view

    def show(self, event: RuntimeEvent) -> None:
        """Show one event; nothing after a failure."""
        if self.failure is None:
            try:
                self._view.show(event)
            except OSError as error:  # standard output is closed, or its disk is full
                self.failure = error
                self.on_failure()


async def _watch_stdin(stop: Callable[[], None]) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
        while await stdin.receive_some():
            pass
    stop()


def _check_stdin(args: argparse.Namespace) -> None:
    if args.stop_when_stdin_closes:
        mode = os.fstat(sys.stdin.fileno()).st_mode
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or sys.stdin.isatty()):
            raise CliError("--stop-when-stdin-closes needs a pipe as standard input", ExitCode.IO)


def _gossip(args: argparse.Namespace, *, knows_peers: bool) -> GossipConfig:
    timeout_s: float | None = args.join_timeout
    if timeout_s is None and knows_peers:
        timeout_s = _JOIN_TIMEOUT_S
    return GossipConfig(
        fan_out=args.fan_out,
        quorum=args.quorum,
        min_collect_s=args.min_collect,
        max_collect_s=args.max_collect,
        minimum_peers=args.min_peers,
        join_timeout_s=timeout_s,
        alone_ok=args.alone_ok,
        offer_interval_s=args.offer_interval,
    )


def _join_exit(error: JoinError) -> ExitCode:
    return ExitCode.TRUST if error.code == ErrorCode.E_HS_IDENTITY else ExitCode.WIRE
