"""The load balancer in front of several replicas where the platform has none: nginx, in proportion to their speed."""

from __future__ import annotations

from collections.abc import Iterable

from gpuplan.deploy.deployment import Deployment, Serving
from gpuplan.deploy.facts import facts
from gpuplan.deploy.placement import FIRST_PORT, Machine

MOST_WEIGHT = 100
LONGEST_ANSWER_SECONDS = 3600
CONTAINER_PORT = 80
MOST_CONNECTIONS = 16384
"""Two for each request in flight, to its client and to its replica; nginx's own 512 would stop at 256 requests."""


def balancer_image() -> str:
    """The pinned image."""
    return str(facts()["balancer"]["image"])


def weights(deployment: Deployment) -> dict[str, int]:
    """Requests per round by serving, in proportion to what one replica was planned to produce."""
    speeds = [line.estimate.output_tokens_per_second.planned for line in deployment.plan.lines]
    least = min(speeds)
    return {
        serving.name: max(1, min(MOST_WEIGHT, round(10 * speed / least))) if least > 0 else 1
        for serving, speed in zip(deployment.servings, speeds, strict=True)
    }


def endpoints(machines: Iterable[Machine], host: str = "machine-{number}") -> list[tuple[Serving, str]]:
    """Where each replica answers; machines are numbered from 1."""
    return [
        (seat.serving, f"{host.format(number=number)}:{seat.port}")
        for number, machine in enumerate(machines, start=1)
        for seat in machine.seats
        if seat.node == 0
    ]


def nginx(deployment: Deployment, servers: Iterable[tuple[Serving, str]], port: int = FIRST_PORT + 80) -> str:
    """A whole nginx.conf; answers are streamed through, a replica that is away is left out."""
    share = weights(deployment)
    lines = [f"    server {where} weight={share[serving.name]} max_fails=2;" for serving, where in servers]
    return "\n".join(
        [
            "worker_processes auto;",
            f"worker_rlimit_nofile {2 * MOST_CONNECTIONS};",
            "events {",
            f"  worker_connections {MOST_CONNECTIONS};",
            "}",
            "http {",
            "  upstream replicas {",
            "    zone replicas 1m;",
            "    least_conn;",
            *lines,
            "  }",
            "  server {",
            f"    listen {port};",
            "    client_max_body_size 0;",
            "    location / {",
            "      proxy_pass http://replicas;",
            "      proxy_http_version 1.1;",
            "      proxy_buffering off;",
            f"      proxy_read_timeout {LONGEST_ANSWER_SECONDS}s;",
            "      proxy_next_upstream error timeout http_503;",
            "    }",
            "  }",
            "}",
            "",
        ]
    )
