"""`turnout models`: the local models, and bringing one here."""

import argparse
import os
import sys

from proxy.commands import table
from proxy.home import Home
from proxy.models import MODELS, ModelError, is_pulled, pull


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the command and its own commands."""
    parser = commands.add_parser("models", help="local models")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    pulling = actions.add_parser("pull", help="bring a model here")
    pulling.add_argument("name", metavar="NAME", help=", ".join(MODELS))
    pulling.set_defaults(func=run, action=_pull)
    listing = actions.add_parser("list", help="the models there are")
    listing.set_defaults(func=run, action=_list)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 when a model can't be brought here."""
    try:
        code: int = args.action(args)
    except (ModelError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return code


def _pull(args: argparse.Namespace) -> int:
    print(pull(Home.find(os.environ).path, args.name))
    return 0


def _list(args: argparse.Namespace) -> int:
    home = Home.find(os.environ).path
    rows = [
        (name, f"{model.size / 1e6:.0f} MB", "pulled" if is_pulled(home, model) else "")
        for name, model in MODELS.items()
    ]
    print(table.render(("name", "size", "here"), rows))
    return 0
