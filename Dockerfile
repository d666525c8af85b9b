# Airflow 3.3.2 with Convergence in it, for every service of docker-compose.yaml.
# No secret and no setting is baked in: both come at run time.
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_LINK_MODE=copy
RUN pip install uv==0.13.8 && python -m venv /opt/venv
COPY requirements-production.lock /build/
# Precompiled: a worker that compiles its imports first takes twice as long to its first task.
RUN VIRTUAL_ENV=/opt/venv uv pip install --no-cache --require-hashes --compile-bytecode \
      -r /build/requirements-production.lock

FROM python:3.12-slim
RUN groupadd --gid 50000 airflow \
 && useradd --uid 50000 --gid airflow --no-create-home --home-dir /opt/airflow --shell /usr/sbin/nologin airflow \
 && install -d -o airflow -g airflow /opt/airflow /opt/airflow/logs /opt/convergence-var /opt/sandbox
COPY --from=build /opt/venv /opt/venv
COPY dags /opt/convergence/dags
COPY plugins /opt/convergence/plugins
COPY include/configs /opt/convergence/include/configs
COPY sandbox/src /opt/convergence/sandbox/src
COPY tools /opt/convergence/tools
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/convergence/plugins:/opt/convergence/tools:/opt/convergence/sandbox/src \
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
