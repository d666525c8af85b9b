# Airflow 3.3.2 with Convergence in it, for every service of docker-compose.yaml.
# No secret and no setting is baked in: both come at run time.
# Targets: `production`, the default, and `sandbox`, for development alone.
FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_LINK_MODE=copy
RUN pip install uv==0.13.8 && python -m venv /opt/venv

FROM build AS build-production
COPY requirements-production.lock /build/
# Precompiled: a worker that compiles its imports first takes twice as long to its first task.
RUN VIRTUAL_ENV=/opt/venv uv pip install --no-cache --require-hashes --compile-bytecode \
      -r /build/requirements-production.lock

FROM build AS build-sandbox
COPY sandbox/requirements.lock /build/
RUN VIRTUAL_ENV=/opt/venv uv pip install --no-cache --require-hashes --compile-bytecode \
      -r /build/requirements.lock
COPY sandbox/pyproject.toml /build/sandbox/
COPY sandbox/README.md /build/sandbox/
COPY sandbox/src /build/sandbox/src
# A folder has no hash to require; its dependencies are installed above, with theirs.
RUN VIRTUAL_ENV=/opt/venv uv pip install --no-cache --no-deps --compile-bytecode /build/sandbox

FROM python:3.11-slim AS sandbox
RUN groupadd --gid 50000 sandbox \
 && useradd --uid 50000 --gid sandbox --no-create-home --shell /usr/sbin/nologin sandbox \
 && install -d -o sandbox -g sandbox /opt/sandbox
COPY --from=build-sandbox /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SANDBOX_DATA_DIR=/opt/sandbox
USER sandbox
CMD ["convergence-sandbox"]

FROM python:3.11-slim AS production
RUN groupadd --gid 50000 airflow \
 && useradd --uid 50000 --gid airflow --no-create-home --home-dir /opt/airflow --shell /usr/sbin/nologin airflow \
 && install -d -o airflow -g airflow /opt/airflow /opt/airflow/logs /opt/convergence-var
COPY --from=build-production /opt/venv /opt/venv
COPY dags /opt/convergence/dags
COPY plugins /opt/convergence/plugins
COPY include/configs /opt/convergence/include/configs
COPY tools/deploy /opt/convergence/tools/deploy
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/convergence/plugins:/opt/convergence/tools \
    PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/convergence/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/convergence/plugins \
    CONVERGENCE_VAR_DIR=/opt/convergence-var \
    CONVERGENCE_PRELOAD=all
RUN python -m compileall -q /opt/convergence
WORKDIR /opt/convergence
USER airflow
CMD ["airflow", "version"]
