"""The configuration of a run: one typed value behind the config file, the command line and the library alike."""

from wkpipe.plan.config.config import Config, load_config

__all__ = ["Config", "load_config"]
