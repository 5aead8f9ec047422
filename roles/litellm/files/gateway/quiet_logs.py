"""Keeps what clients say out of LiteLLM's own log, which repeats questions in its error messages."""

from __future__ import annotations

import logging
import re

from gateway.caller import noted_caller

_LITELLM = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
_CALL_ID = re.compile(r"litellm_call_id=([\w-]+)")


class WithoutQuestions(logging.Filter):
    """Cuts the records of a request down to where they come from, the kind of error and the id of the request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a record in place; every record is kept. What is logged outside of requests stays as it is."""
        if noted_caller().client is None:
            return True
        call = _CALL_ID.search(record.getMessage())
        kind = record.exc_info[0] if record.exc_info else None
        parts = (
            f"{record.module}.{record.funcName}",
            kind.__name__ if kind else "",
            f"litellm_call_id={call[1]}" if call else "",
        )
        record.msg, record.args = " ".join(part for part in parts if part), ()
        record.exc_info = record.exc_text = record.stack_info = None
        for name in [name for name in vars(record) if name not in _PLAIN and not name.startswith("_")]:
            delattr(record, name)
        return True


class NoAccessLines(logging.Filter):
    """Drops uvicorn's access log.

    Each question has a line of the gateway's own and one of the ingress; the ingress's health checks would fill it.
    """

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        """Keep nothing."""
        return False


# Whatever else a record carries was added to show it.
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def keep_questions_out_of_logs() -> None:
    """Put the filters in place, on the loggers themselves, whatever handlers they have or get."""
    for name in _LITELLM:
        logging.getLogger(name).addFilter(WithoutQuestions())
    logging.getLogger("uvicorn.access").addFilter(NoAccessLines())
