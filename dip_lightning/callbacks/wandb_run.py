"""Opening W&B's run of a fit, without waiting for a server that does not answer."""

from __future__ import annotations

import http.client
import logging
import os
import ssl
import threading
import time
import urllib.error
import urllib.request
from typing import Any

_LOG = logging.getLogger(__name__)

#: Environment variable: how long to wait for W&B's server at the start of a fit, in seconds.
PATIENCE_VARIABLE = "DIP_LIGHTNING_WANDB_SECONDS"
_PATIENCE = 2.0
#: For how long a server that did not answer is not asked again, in seconds: a list of jobs waits once.
_REMEMBERED = 600.0
#: Limits of W&B's own: for a server that answers but opens no run, and for one that goes away during the fit.
_LIMITS = {"WANDB_INIT_TIMEOUT": "15", "WANDB_FINISH_TIMEOUT": "60"}

_silent: dict[str, tuple[float, str]] = {}


def is_wandb(logger: Any) -> bool:
    """Whether a logger is Lightning's ``WandbLogger``; without importing wandb."""
    return any(kind.__name__ == "WandbLogger" for kind in type(logger).__mro__)


def without_unreachable(loggers: list[Any], job_type: str | None = None) -> list[Any]:
    """Open the run of each ``WandbLogger``; offline where the server does not answer. A fit does not wait for it.

    Args:
        loggers: The trainer's loggers.
        job_type: What W&B calls the kind of run, here the method; for loggers that do not say themselves.

    Returns:
        Those that work: all, unless not even an offline run can be opened.
    """
    for name, value in _LIMITS.items():
        os.environ.setdefault(name, value)
    for arguments in [getattr(logger, "_wandb_init", {}) for logger in loggers if is_wandb(logger)]:
        arguments["job_type"] = arguments.get("job_type") or job_type
        if arguments.get("anonymous") is None:
            arguments.pop("anonymous", None)  # wandb warns of it, whatever it is
    return [logger for logger in loggers if not is_wandb(logger) or open_run(logger)]


def open_run(logger: Any) -> bool:
    """Open the run of a ``WandbLogger``, with a warning if it is not online although it should be.

    Args:
        logger: The logger; what it was given for ``wandb.init`` is set to offline where the server cannot be used.

    Returns:
        Whether it has a run.
    """
    arguments: dict[str, Any] | None = getattr(logger, "_wandb_init", None)
    reason = _failure(logger, ask_first=arguments is not None)
    if reason is None:
        return True
    if arguments is not None:
        arguments["mode"] = "offline"
        failure = _failure(logger)
        if failure is None:
            folder = getattr(getattr(logger.experiment, "settings", None), "sync_dir", "<its folder>")
            _LOG.warning(
                "W&B cannot be reached (%s): this run is kept offline. Send it later: wandb sync %s", reason, folder
            )
            return True
        reason = failure
    _LOG.warning(
        "W&B has no run of this fit (%s), which goes on without it. Push the run folder later: dip-lightning wandb",
        reason,
    )
    return False


def _failure(logger: Any, ask_first: bool = False) -> str | None:
    """Open the run; ``None`` if that went well, else why not."""
    try:
        if ask_first and (reason := _reason_for_offline(logger)) is not None:
            return reason
        _ = logger.experiment
    except Exception as error:  # wandb raises its own errors, and those of whatever network lies below
        return f"{type(error).__name__}: {error}"
    return None


def _reason_for_offline(logger: Any) -> str | None:
    """Say why the server cannot be reached; ``None`` if it can, or need not be."""
    import wandb

    arguments = logger._wandb_init
    if getattr(logger, "_offline", False):
        arguments["mode"] = "offline"  # Lightning says so by a variable of the environment, which wandb reads only once
        return None
    settings: Any = wandb.setup().settings
    given = arguments.get("settings")
    own = given if isinstance(given, dict) else {k: getattr(given, k) for k in getattr(given, "model_fields_set", ())}
    if (arguments.get("mode") or own.get("mode") or settings.mode) not in (None, "online", "shared"):
        return None
    return server_unreachable(own.get("base_url"))


def server_unreachable(url: str | None = None) -> str | None:
    """Ask W&B's server whether it is there.

    Args:
        url: Its address, unless wandb's own settings say it.

    Returns:
        Why it cannot be reached; ``None`` if it can.
    """
    import wandb

    settings: Any = wandb.setup().settings
    proxies = {scheme: getattr(settings, f"{scheme}_proxy", None) for scheme in ("http", "https")}
    return unreachable(str(url or settings.base_url), {scheme: proxy for scheme, proxy in proxies.items() if proxy})


def unreachable(url: str, proxies: dict[str, str] | None = None) -> str | None:
    """Ask a server whether it is there.

    Args:
        url: Its address.
        proxies: Proxy by scheme, beside those of the environment.

    Returns:
        Why it cannot be reached, after :data:`PATIENCE_VARIABLE` seconds at most (by default 2); ``None`` if it gave
        any answer.
    """
    at, reason = _silent.get(url, (0.0, ""))
    if reason and time.monotonic() - at < _REMEMBERED:
        return reason
    patience = float(os.environ.get(PATIENCE_VARIABLE, _PATIENCE))
    found: list[str | None] = []
    # In a thread, for looking up a name has no time limit of its own.
    asking = threading.Thread(target=lambda: found.append(_ask(url, proxies or {}, patience)), daemon=True)
    asking.start()
    asking.join(patience)
    answer = found[0] if found else f"{url} gave no answer in {patience:g} s"
    if answer is not None:
        _silent[url] = time.monotonic(), answer
    return answer


def _ask(url: str, proxies: dict[str, str], patience: float) -> str | None:
    handler = urllib.request.ProxyHandler({**urllib.request.getproxies(), **proxies})
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.build_opener(handler).open(request, timeout=patience).close()
    except urllib.error.HTTPError:
        return None  # an answer
    except urllib.error.URLError as error:
        # A certificate that Python does not know may be one that W&B was told of.
        return None if isinstance(error.reason, ssl.SSLError) else f"{url}: {error.reason}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{url}: {error or type(error).__name__}"
    return None
