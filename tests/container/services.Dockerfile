# The services of the container tests in one image: Postgres, moto (an S3-compatible server), haproxy.
FROM debian:bookworm-slim
COPY ca-certificates.crt /tmp/authorities.pem
RUN apt-get update \
 && apt-get install -y --no-install-recommends postgresql haproxy python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/moto \
 && /opt/moto/bin/pip install --no-cache-dir --cert /tmp/authorities.pem 'moto[server]>=5,<6'
ENV PATH=/opt/moto/bin:/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
