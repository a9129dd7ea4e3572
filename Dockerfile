# Two stages: the first has the build tools, the second only what runs.
# Every package is pinned by version and hash; CONTRIBUTING.md says how the locks are made again.

FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements-build.lock requirements-image.lock ./
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements-build.lock
# pip stays: `turnout models pull` fetches with it.
RUN python -m venv /opt/turnout \
    && /opt/turnout/bin/pip install --require-hashes --only-binary :all: \
        -r requirements-image.lock
COPY pyproject.toml README.md LICENSE ./
COPY adapters adapters
COPY benchmarks benchmarks
COPY proxy proxy
RUN /opt/build/bin/hatchling build -t wheel -d /opt/wheels \
    && /opt/turnout/bin/pip install --no-deps --no-index /opt/wheels/*.whl

FROM python:3.13-slim
# The embedded model's engine is compiled against OpenMP's runtime, which the slim image lacks.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /data turnout \
    && install -d -o turnout -m 0700 /data
COPY --from=build /opt/turnout /opt/turnout
ENV PATH=/opt/turnout/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TURNOUT_HOME=/data
# Keys, ledger and models live here; a config.yaml laid here is found.
WORKDIR /data
VOLUME /data
USER turnout
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/health/live'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["turnout"]
CMD ["serve", "--host", "0.0.0.0"]
