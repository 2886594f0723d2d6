# The processor and its command line. Build: docker build -t handoff-integrity .
FROM python:3.14.7-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /opt/handoff
# The dependencies, those of state on disk among them, are a layer of their own: it is made again
# only when the lock changes.
COPY requirements.txt .
RUN /opt/handoff/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
# What builds our own package is locked as well, and does not come into the image.
COPY requirements-build.txt .
RUN python -m pip install --no-cache-dir --require-hashes -r requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY topics topics
COPY processors processors
COPY alerts alerts
COPY web web
COPY console console
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /opt/handoff/bin/pip install --no-cache-dir --no-deps /wheel/*.whl

FROM python:3.14.7-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/handoff handoff
COPY --from=build /opt/handoff /opt/handoff
ENV PATH=/opt/handoff/bin:$PATH PYTHONUNBUFFERED=1 HANDOFF_WEB_HOST=0.0.0.0
USER handoff
WORKDIR /var/lib/handoff
EXPOSE 6066
ENTRYPOINT ["handoff"]
CMD ["run"]
