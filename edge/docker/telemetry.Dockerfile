# The service that a fleet reports to: `edgeproof telemetry`, without the pipeline's libraries. Build it from the repository's root:
#   docker build -f edge/docker/telemetry.Dockerfile -t edgeproof-telemetry .
ARG BASE=docker.io/library/python:3.12.12-slim-bookworm
FROM ${BASE} AS build
WORKDIR /build
COPY edge/docker/build-requirements.txt edge/docker/telemetry-requirements.txt ./
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/edgeproof \
    && tools/bin/python -m pip install --no-cache-dir --quiet --require-hashes -r build-requirements.txt \
    && tools/bin/python -m pip --python /opt/edgeproof/bin/python install --no-cache-dir --quiet --require-hashes --no-deps \
       --only-binary=:all: --no-compile -r telemetry-requirements.txt
COPY . ./source
RUN tools/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir wheels ./source ./source/edge \
    && tools/bin/python -m pip --python /opt/edgeproof/bin/python install --quiet --no-deps --no-index --no-compile wheels/*.whl \
    && python3 source/edge/docker/runtime_root.py /opt/edgeproof /runtime && mkdir -p -m 750 /volume/edgeproof

FROM scratch
COPY --from=build /runtime/ /
COPY --from=build --chown=10001:10001 /volume/ /var/lib/
ENV PATH=/opt/edgeproof/bin:/usr/local/bin:/usr/bin LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 10001:10001
# Without EDGEPROOF_TELEMETRY everything is kept here, in telemetry.db.
WORKDIR /var/lib/edgeproof
VOLUME /var/lib/edgeproof
EXPOSE 8377
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=2 CMD ["/opt/edgeproof/bin/python3", "-I", "-S", "-c", "import urllib.request as request; request.urlopen('http://127.0.0.1:8377/healthz', timeout=4)"]
ENTRYPOINT ["edgeproof", "telemetry"]
CMD ["serve", "--host", "0.0.0.0"]
