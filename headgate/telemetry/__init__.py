"""What happened: counting and describing requests, never doing anything about them. (control.telemetry keeps it.)

- `cells`       integers in shared memory that outlive the process that counts in them; one region per worker slot.
- `families`    the table of metric families.
- `metrics`     the few additions a finished request costs.
- `naming`      the forms of the configuration: which names and labels the sums of all slots are shown under.
- `prometheus`  these as text for a scraper, or as a list for JSON; `protobuf` as protocol buffers.
- `access_log`  one finished request as one line of bytes.
- `audit`       one refusal or one act of an operator as one line of bytes.
- `trace`       the trace that a request is a part of, as fields of requests have it.
- `sampling`    which requests are recorded whole; `record` is what stands in a record.
- `redaction`   what is taken out of a finished request before anything is written of it.
- `collector`   where spans are sent.
- `settings`    what an operator chooses of all this.

Law: accumulation only. Nothing here reads a clock, draws by chance, opens a file or a socket, or waits; `now` and
chance are arguments.
"""
