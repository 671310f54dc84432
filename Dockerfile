# The connector's image: `make image`. It holds exactly the versions of constraints.txt, those that `make test` ran with.
ARG BASE_IMAGE=docker.io/airbyte/python-connector-base:4.1.0@sha256:1d1aa21d34e851df4e8a87b391c27724c06e2597608e7161f4d167be853bd7b6

FROM ${BASE_IMAGE} AS builder
WORKDIR /build
# Without pip: the base image's installs into it, and the connector needs none.
RUN python -m venv --without-pip /opt/connector
ENV PIP_PYTHON=/opt/connector/bin/python PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# The dependencies come first, as a layer of their own that a change of the code leaves alone.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        >requirements.txt \
    && pip install --quiet --requirement requirements.txt --constraint constraints.txt

COPY README.md LICENSE ./
COPY source_commonroom ./source_commonroom
RUN pip install --quiet --no-deps .

FROM ${BASE_IMAGE}
COPY --from=builder /opt/connector /opt/connector
ENV PATH="/opt/connector/bin:${PATH}"
WORKDIR /airbyte/integration_code
COPY main.py ./

USER airbyte

# Airbyte's workers read the command from AIRBYTE_ENTRYPOINT, and `docker run` from ENTRYPOINT.
ENV AIRBYTE_ENTRYPOINT="python /airbyte/integration_code/main.py"
ENTRYPOINT ["python", "/airbyte/integration_code/main.py"]

LABEL io.airbyte.name=airbyte/source-commonroom \
      io.airbyte.version=0.1.0
