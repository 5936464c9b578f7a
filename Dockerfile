# An image that serves on stdio:
#   docker build -t restore4k .
#   docker run -i --rm -v ~/Pictures:/photos:ro -v ~/Pictures/restore4k:/restored restore4k
# Everything it writes is in /restored and /state; mount a volume on /state to keep handles and traces of runs.
FROM python:3.12-slim AS build
WORKDIR /source
RUN pip install --no-cache-dir uv
COPY requirements.lock .
RUN uv venv /restore4k && uv pip install --python /restore4k/bin/python --require-hashes -r requirements.lock
COPY . .
RUN uv pip install --python /restore4k/bin/python --no-deps .

FROM python:3.12-slim
RUN useradd --create-home restore4k && mkdir /photos /restored /state && chown restore4k /restored /state
COPY --from=build /restore4k /restore4k
ENV PATH=/restore4k/bin:$PATH XDG_STATE_HOME=/state PYTHONUNBUFFERED=1
USER restore4k
VOLUME ["/state"]
ENTRYPOINT ["restore4k"]
CMD ["serve", "/photos", "--output", "/restored"]
