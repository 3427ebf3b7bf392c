#!/usr/bin/env python3
"""Asks a connected user a question and prints the answer as it comes in.

    python3 examples/bridge_backend.py alice "Deploy to production?"
    python3 examples/bridge_backend.py alice "Which one?" --option red --option blue

The user is a browser or a program on ws://HOST/ws?user_id=alice, for example
examples/bridge_user.html. What it answers is printed line by line until its final answer.

Where the gateway asks services for a key, put it into SSE_API_KEY:

    SSE_API_KEY=... python3 examples/bridge_backend.py --url https://gateway.example alice "Ready?"

Needs Python 3.9 or newer and nothing else. Ends with 0 when the final answer came, 1 when
it did not, 2 when the arguments are wrong.
"""

import argparse
import http.client
import json
import os
import sys
import urllib.error
import urllib.request


class Failed(Exception):
    """No final answer; the text says why, and what to do."""


def main():
    options = arguments().parse_args()
    question = {"type": "question", "message": options.question, "options": options.option or ["Yes", "No"]}
    try:
        for answer in ask(options.url, options.user, question, options.timeout):
            show(answer)
    except Failed as failure:
        sys.exit(f"bridge_backend: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the answers has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("user", help="who is asked")
    parser.add_argument("question", help="what is asked")
    parser.add_argument("--option", action="append", metavar="TEXT", help="an answer to offer; repeat it for more (Yes, No)")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the gateway (%(default)s)")
    parser.add_argument("--timeout", type=float, default=40, metavar="SECONDS",
                        help="longest silence to bear; the gateway gives up after 30 unless configured otherwise (%(default)s)")
    return parser


def ask(url, user, question, timeout):
    """Posts the question and yields each answer, the final one last."""
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    if key := os.environ.get("SSE_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    body = json.dumps({"user_id": user, "data": question}).encode()
    try:
        request = urllib.request.Request(url.rstrip("/") + "/sse/send", body, headers)
        with urllib.request.urlopen(request, timeout=timeout) as stream:
            for event in events(stream):
                if "error" in event:
                    raise Failed(explain(event["error"], user, url))
                yield event
                if event.get("is_final"):
                    return
    except urllib.error.HTTPError as error:
        raise Failed(refused(error)) from None
    except urllib.error.URLError as error:
        raise Failed(f"no gateway at {url}: {error.reason}\nStart one with `fanfare serve --mode demo`, or say where it is with --url.") from None
    except TimeoutError:
        raise Failed(f"{user} was silent for {timeout:g} s. Ask again, or wait longer with --timeout.") from None
    except (http.client.HTTPException, OSError) as error:
        raise Failed(f"the connection broke: {error}. The question may have reached {user}.") from None
    except ValueError as error:
        raise Failed(f"{url}: {error}") from None
    raise Failed("the gateway ended the stream before the final answer. Was it stopped?")


def events(stream):
    """The events of a stream, read by line as they come: `data:` and JSON, an empty line after it."""
    data = []
    for line in stream:
        line = line.decode().rstrip("\r\n")
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield json.loads("\n".join(data))
            data = []
        # Anything else is a comment, which keeps proxies from closing a silent stream.


def show(answer):
    text = answer.get("message", answer.get("data"))
    text = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    print(f"{'final' if answer.get('is_final') else 'part '}  {text}", flush=True)


def explain(error, user, url):
    """What to do about an event that ended the stream."""
    if error == "User not connected":
        return f"{user} is not connected to {url}.\nOpen examples/bridge_user.html, connect as {user}, and ask again."
    if error == "Timeout waiting for response":
        return f"{user} got the question and did not answer in time.\nAsk again, or let the gateway wait longer: SSE_RESPONSE_TIMEOUT=120."
    return error


def refused(error):
    """What to do about a status."""
    body = error.read().decode(errors="replace")
    try:
        why = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError):
        why = body.strip() or error.reason
    advice = {
        401: "Put the gateway's API key into the environment: SSE_API_KEY=...",
        404: "Is this the gateway, and are bridge.enabled and bridge.send_path what this program expects?",
        429: f"Try again in {error.headers.get('Retry-After', 'some')} s.",
        503: f"Try again in {error.headers.get('Retry-After', 'some')} s.",
    }
    return "\n".join(filter(None, [f"the gateway refused the question with {error.code}: {why}", advice.get(error.code)]))


if __name__ == "__main__":
    main()
