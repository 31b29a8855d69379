# The gateway in a container: not root, nothing writable but its state, no compiler and no pip inside.
#
#   docker build -t ai-gateway .                                        any preset, named when it starts
#   docker build -t service-mesh --build-arg PRESET=service-mesh .      one preset, which needs no naming
#   docker run -p 8080:8080 -e HEADGATE_PRESET=sandbox -e JWT_SECRET_KEY=... ai-gateway
#
# Own files go to /etc/headgate; headgate.yaml there is read by itself. /var/lib/headgate outlives the container if a
# volume is mounted there; none is declared, for Railway builds no image that declares one. To pin the base to what you
# have tried: --build-arg PYTHON=python:3.11.13-slim-bookworm@sha256:...
ARG PYTHON=python:3.11.13-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
RUN python -m venv /opt/headgate && python -m venv /opt/builder
# What changes seldom comes first, so that a change of the code builds in seconds.
COPY requirements/image.txt requirements/build.txt requirements/
RUN /opt/headgate/bin/pip install --require-hashes --requirement requirements/image.txt \
    && /opt/builder/bin/pip install --require-hashes --requirement requirements/build.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY docs/headgate.1 docs/
COPY headgate/ headgate/
RUN /opt/builder/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/headgate/bin/pip install --no-deps --no-index /wheels/*.whl \
    && /opt/headgate/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON}
ARG PRESET=""
LABEL org.opencontainers.image.title="Headgate" \
      org.opencontainers.image.description="One API gateway and service-mesh proxy for AI microservices" \
      org.opencontainers.image.licenses="Apache-2.0"
# The base brings a pip of its own, which nothing here needs.
RUN pip uninstall --yes --root-user-action=ignore pip setuptools wheel \
    && groupadd --gid 1000 headgate \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /var/lib/headgate --shell /usr/sbin/nologin headgate \
    && install --directory --owner headgate --group headgate --mode 700 /var/lib/headgate
COPY --from=build /opt/headgate /opt/headgate
COPY deploy/railway/ /etc/headgate/railway/
ENV PATH=/opt/headgate/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HEADGATE_STATE_DIR=/var/lib/headgate \
    HEADGATE_PRESET=${PRESET}
WORKDIR /etc/headgate
EXPOSE 8000 8080 8600
USER 1000:1000
STOPSIGNAL SIGTERM
# The admin address answers for all workers. HEADGATE_ADMIN says where it is, if it is elsewhere.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://' + os.environ.get('HEADGATE_ADMIN', '127.0.0.1:8081') + '/health', timeout=2)"]
ENTRYPOINT ["headgate"]
CMD ["run"]
