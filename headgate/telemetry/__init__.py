"""What happened: counting and describing requests, never doing anything about them.

- `cells`       integers in shared memory that outlive the process that counts in them; one region per worker slot.
- `families`    the table of metric families.
- `metrics`     the few additions a finished request costs.
- `naming`      the forms of the configuration: which names and labels the sums of all slots are shown under.
- `prometheus`  these as text for a scraper, or as a list for JSON; `protobuf` as protocol buffers.
- `access_log`  one finished request as one line of bytes.
- `audit`       one refusal or one act of an operator as one line of bytes.

Law: accumulation only. Nothing here reads a clock, opens a file or a socket, or waits; `now` is an argument.
"""
