# The command line of run-kfp with gcloud beside it. `docker-shell.sh` and `docker-shell.bat` build and run it.
# No BuildKit-only syntax: the classic builder and others read it too.

# A Debian with gcloud and Python 3.11 to 3.13; Google's slim image exists for amd64 and arm64.
ARG BASE=gcr.io/google.com/cloudsdktool/google-cloud-cli:slim

# ── Built here, left behind: pip, the build backend, wheels, caches ──────────────────────────────────────────────
FROM ${BASE} AS dependencies
USER root
# A base that has ensurepip already needs no package index of the distribution.
RUN python3 -c 'import ensurepip, venv' 2>/dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends python3-venv; }
COPY requirements-build.lock requirements.lock /src/
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/run-kfp \
    && /build/bin/pip install --no-cache-dir --no-deps --require-hashes -r /src/requirements-build.lock
# All are made wheels first: what comes as source is then built by the locked backend, not by one fetched unchecked.
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --require-hashes \
        -r /src/requirements.lock -w /wheels \
    && /build/bin/pip --python /opt/run-kfp/bin/python install --no-cache-dir --no-index --no-deps --compile \
        /wheels/*.whl \
    && /build/bin/pip --python /opt/run-kfp/bin/python check \
    && rm -r /wheels

FROM dependencies AS code
COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
RUN cd /src && /build/bin/pip wheel --no-index --no-deps --no-build-isolation -w /wheels . \
    && /build/bin/pip --python /opt/run-kfp/bin/python install --no-index --no-deps --compile \
        --prefix /code /wheels/*.whl \
    && mkdir -p /code/share/run-kfp \
    && { echo "PS1='run-kfp:\\w\\$ '" \
        && PYTHONPATH="$(echo /code/lib/python3*/site-packages)" _RUN_KFP_COMPLETE=source_bash /code/bin/run-kfp; } \
        > /code/share/run-kfp/bashrc

# ── The image ────────────────────────────────────────────────────────────────────────────────────────────────────
FROM ${BASE}
USER root
# Whoever starts the container brings an id of their own (docker-shell.sh: the caller's), so every id may write to the
# home folder. The folders that are mounted exist, so that a container without the mounts finds them empty.
RUN echo 'run-kfp:x:10001:10001:run-kfp:/home/run-kfp:/bin/bash' >> /etc/passwd \
    && echo 'run-kfp:x:10001:' >> /etc/group \
    && mkdir -p /home/run-kfp /work /secrets && chmod 1777 /home/run-kfp /work
ENV PATH=/opt/run-kfp/bin:$PATH \
    HOME=/home/run-kfp \
    USER=run-kfp
COPY --from=dependencies /opt/run-kfp /opt/run-kfp
COPY docker-entrypoint.sh /opt/run-kfp/share/
COPY --from=code /code /opt/run-kfp

USER 10001:10001
WORKDIR /work
# Named with `sh`: a checkout on Windows has no executable bit.
ENTRYPOINT ["sh", "/opt/run-kfp/share/docker-entrypoint.sh"]

ARG BASE
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="run-kfp" \
      org.opencontainers.image.description="Runs Docker images as one Kubeflow pipeline, on this machine and on Vertex AI" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
